"""ONNX Runtime's fused graph as a second artifact: attention and GELU as single kernels."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
from optimum.utils import NormalizedConfigManager
from pydantic import Field

from compress import environment, log
from compress.errors import UserError
from compress.stage import Context, StageConfig
from deploy import rehearsal
from deploy.checking import lengths, parity
from deploy.encoder import Encoder, carry, real_rows
from deploy.graph import constants, products
from deploy.graph import facts as graph_facts
from deploy.graph import nodes as graph
from deploy.session import infer_with, open_session

if TYPE_CHECKING:
    from compress.artifacts.artifact import Artifact

CONSUMES = frozenset({"onnx"})
PRODUCES = "onnx"
VERSION = 2
TOOLS = ("onnx", "onnxruntime", "optimum", "transformers")
DATA = frozenset({"calibration"})
NEEDS_DATA = True
DETERMINISTIC = True
ANCESTORS = False
MAKES_HEAD = False

_DOMAIN = "com.microsoft"


class Config(StageConfig):
    """Options of the fusion. On CPUs only the attention kernel was seen to help, hence the defaults.

    Attributes:
        attention: whether attention is fused; never done where heads were removed.
        skip_layer_norm: whether the residual sum joins LayerNormalization (slower on CPU).
        embed_layer_norm: whether the embedding lookup joins its LayerNormalization.
        bias_gelu: whether the bias joins GELU.
        tolerance: largest difference to the plain graph, as a share of the largest output.
    """

    attention: bool = True
    skip_layer_norm: bool = False
    embed_layer_norm: bool = False
    bias_gelu: bool = False
    tolerance: float = Field(default=parity.FP32.relative, gt=0, le=1e-2)


def reads(config: Config) -> tuple[Path, ...]:
    """Nothing outside source and data."""
    return ()


def heads_whole(weight_products: list[products.WeightProduct], hidden: int) -> bool:
    """Whether every attention is as wide as the model: no head was removed anywhere.

    Groups of three products of one input are query, key and value; ONNX Runtime's kernel divides
    their width by the number of heads of the whole model, and is wrong or fails on any other.
    """
    sharing = Counter(product.input for product in weight_products)
    widths = [product.shape[1] for product in weight_products if sharing[product.input] >= 3]
    return bool(widths) and all(width == hidden for width in widths)


def run(source: Artifact, config: Config, ctx: Context) -> None:
    """Fuse, check against the plain graph under all masks, record what was fused.

    Raises:
        UserError: the graph is not a plain FP32 one, or nothing in it was fused.
        ParityError: the fused graph computes something else.
    """
    facts = graph_facts.read(source)
    if facts.precision != "fp32" or facts.fused:
        state = "fused" if facts.fused else facts.precision
        raise UserError(f"{source.path} is {state} already: fuse the FP32 graph that export-onnx made")
    encoder = Encoder.open(source.path, ctx.task)
    rows = real_rows(ctx, encoder, "the parity check of a fused graph")
    reference = rehearsal.rehearse(source, encoder, rows, ctx.threads)
    plain = constants.load(source.file(graph_facts.MODEL))
    before = Counter(node.op_type for node in plain.graph.node)
    heads, hidden = _sizes(encoder.config)
    unpruned = heads is not None and heads_whole(products.find(plain), hidden)
    if config.attention and not unpruned:
        log.info("attention is not fused: heads were removed, or their number is not known")
    fused = _fuse(source.file(graph_facts.MODEL), config, heads if unpruned else None, hidden)
    after = Counter(node.op_type for node in fused.graph.node)
    gained = {op: count for op, count in sorted(after.items()) if count > before.get(op, 0)}
    fused_operators = {node.op_type for node in fused.graph.node if node.domain not in ("", "ai.onnx")}
    if not fused_operators:
        raise UserError(
            f"nothing in {source.path} was fused (ONNX Runtime knows the patterns of BERT-like encoders "
            "exported with exporter: torchscript): use the plain graph"
        )
    products.name_nodes(fused)
    graph.strip_notes(fused)
    path = graph.save(fused, ctx.out)
    candidate = infer_with(open_session(path, threads=ctx.threads))
    differences = parity.check(
        reference,
        candidate,
        [*encoder.cases(rows, ctx.seed), *lengths.all_cases(encoder, rows)],
        parity.Tolerance(parity.FP32.absolute, config.tolerance),
        "the fused graph",
    )
    ctx.record("parity", parity.summary(differences))
    ctx.record("fused", {"operators": gained, "attention": config.attention and unpruned})
    ctx.record("nodes", {"before": len(plain.graph.node), "after": len(fused.graph.node)})
    carry(source.path, ctx.out)
    graph_facts.write(ctx.out, facts.model_copy(update={"fused": True}))


def _sizes(config: Mapping[str, Any]) -> tuple[int | None, int]:
    """Heads and width of the model, by the family's own names; None where they are not known."""
    from transformers import AutoConfig

    family = str(config.get("model_type"))
    if family not in NormalizedConfigManager._conf:
        return None, int(config.get("hidden_size", 0))
    described = AutoConfig.for_model(**dict(config))
    normal = NormalizedConfigManager.get_normalized_config_class(family)(described)
    return int(normal.num_attention_heads), int(normal.hidden_size)


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back the optimizer's notes; what it did is recorded, and parity says whether it is right."""
    logger = logging.getLogger("onnxruntime.transformers")
    loggers = [logger, *(logging.getLogger(n) for n in logging.root.manager.loggerDict if "fusion" in n)]
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    for fusion_logger in loggers:
        fusion_logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)


def _fuse(path: Path, config: Config, heads: int | None, hidden: int) -> onnx.ModelProto:
    """Run ONNX Runtime's graph optimizer with the mask as it is.

    Its default for BERT replaces the mask by its length (MaskIndexEnd), which is silently wrong for
    padding on the left and for holes: errors of 0.25 on logits of 0.7 were seen.
    """
    environment.require("onnxruntime", extra="cpu", purpose="to fuse the graph")
    with _quiet():
        from onnxruntime.transformers import fusion_options, optimizer

        options = fusion_options.FusionOptions("bert")
        options.use_raw_attention_mask(True)
        options.enable_attention = config.attention and heads is not None
        options.enable_skip_layer_norm = config.skip_layer_norm
        options.enable_bias_skip_layer_norm = config.skip_layer_norm
        options.enable_embed_layer_norm = config.embed_layer_norm
        options.enable_bias_gelu = config.bias_gelu
        optimized = optimizer.optimize_model(
            str(path),
            model_type="bert",
            num_heads=heads or 0,
            hidden_size=hidden if heads else 0,
            optimization_options=options,
            opt_level=0,
        )
    model: onnx.ModelProto = optimized.model
    if not any(entry.domain == _DOMAIN for entry in model.opset_import):
        model.opset_import.append(onnx.helper.make_opsetid(_DOMAIN, 1))
    return model
