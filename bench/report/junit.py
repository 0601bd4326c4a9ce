"""The verdicts of a report as JUnit XML."""

from __future__ import annotations

from xml.etree import ElementTree

from bench.display import xml_text
from bench.record.model import Report
from bench.report import caveats, summary


def xml(report: Report) -> str:
    """The verdicts as JUnit XML: one test case a gate; a failure carries the reason.

    An inconclusive one is skipped, and a failure where it was told to count as one; the message says so.
    What a reader must know before any figure (rows cut, a baseline at chance) is the suite's own output.
    """
    kinds = {"fail": "failure", "anomalous": "error", "inconclusive": "skipped"}
    if report.inconclusive == "fail":
        kinds["inconclusive"] = "failure"
    tags = [kinds.get(verdict.status) for verdict in report.verdicts]
    counted = summary.counts_as(report.inconclusive)
    suites = ElementTree.Element("testsuites")
    suite = ElementTree.SubElement(
        suites,
        "testsuite",
        name=xml_text.clean(f"paredown gates: {report.title}"),
        tests=str(len(tags)),
        failures=str(tags.count("failure")),
        errors=str(tags.count("error")),
        skipped=str(tags.count("skipped")),
        timestamp=report.created,
    )
    for verdict, kind in zip(report.verdicts, tags, strict=True):
        case = ElementTree.SubElement(
            suite,
            "testcase",
            classname=xml_text.clean(verdict.candidate),
            name=xml_text.clean(f"{verdict.gate} {verdict.metric} {verdict.limit}"),
        )
        reason = verdict.reason
        if verdict.status == "inconclusive":
            reason = f"inconclusive{', ' if counted else ''}{counted}: {reason}"
        if kind is not None:
            ElementTree.SubElement(case, kind, message=xml_text.clean(reason))
        else:
            ElementTree.SubElement(case, "system-out").text = xml_text.clean(reason)
    if remarks := caveats.sentences(report):
        ElementTree.SubElement(suite, "system-out").text = xml_text.clean("\n".join(remarks))
    ElementTree.indent(suites)
    return ElementTree.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"
