"""What reports and findings are shown with: figures in words, tables of texts, drawings."""
