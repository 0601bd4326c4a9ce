"""The names that each model family gives its layers, heads and FFN neurons, and what of it cannot be cut.

A description names what is expected; ``surgery`` checks it against torch-pruning's graph of the model where
that graph follows the family's wiring, and always by what the cut model answers, so that a family that
changes its wiring in a later transformers is refused, not cut wrongly.

===================  ==========  ==========  ==========
family               heads       FFN         layers
===================  ==========  ==========  ==========
BERT and its kin     yes         yes         yes
ModernBERT           yes         yes         yes, with its first
MPNet                alike       yes         yes
ALBERT               shared      shared      no
NomicBERT, EuroBERT  yes         yes         yes
ViT, DeiT, DINOv2    yes         yes         yes
Swin                 yes         yes         no
wav2vec2, HuBERT     yes         yes         yes
WavLM                no          yes         yes, with its first
Whisper              yes         yes         yes
Llama, Qwen          by groups   yes         yes
ModernBERT decoder   yes         yes         yes, with its first
GPT-2                no          no          yes
===================  ==========  ==========  ==========
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from compress.articles import a_type
from compress.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PartKind = Literal["heads", "ffn"]
Cuttable = Literal["heads", "ffn", "layers"]
Side = Literal["input", "output"]


@dataclass(frozen=True)
class Family:
    """The names of one model family; paths are below a layer unless said otherwise.

    Attributes:
        layers: path of the ``ModuleList`` of layers, below the base model; ``*`` stands for every entry of a
            list on the way (the stages of Swin, the groups of ALBERT).
        attention: the module that carries head counts and sizes.
        projections: linear layers whose output rows belong to heads; those that a model lacks
            (DeBERTa's position projections) are left out.
        attention_out: the linear layer that mixes the heads.
        ffn_in: the linear layers whose output rows are the FFN's neurons: one, or gate and value.
        ffn_out: the linear layer that mixes the neurons.
        attention_sum: where the residual stream can be read after attention: a module, and whether
            its input or its output is the stream.
        ffn_sum: the same after the FFN; an empty path is the layer itself.
        size: attribute of ``attention`` that holds the head size.
        counts: attributes of ``attention`` that hold the number of heads.
        totals: attributes of ``attention`` that hold heads times head size.
        head_blocks: how many blocks of rows a projection holds: 3 where queries, keys and values are one.
        ffn_blocks: the same of ``ffn_in``: 2 where gate and value are one layer.
        scales: modules between a part's last linear layer and the stream that multiply each channel, for
            heads and for FFN.
        table: the module below the layer whose parameter has one column a head.
        shared_table: such a module below the base model, which all layers read: the same heads go from each.
        groups: whether several query heads share one key and value: then a unit is the group.
        untraced: parts that torch-pruning's graph does not follow: what the cut model answers is the check.
        fixed: what cannot be cut -> the reason, a clause.
        repeated: whether the one layer is run as often as the configuration counts layers.
        config_width: the configuration's name for the FFN width; None where it has none.
        config_ratio: its name for FFN width / hidden size, a whole number.
        config_size: the configuration's name for the head size, where setting it lets the
            configuration express fewer heads; None where the head size is always hidden / heads.
        layer_counts: attributes of the module above the layers that hold their number.
    """

    layers: str
    attention: str
    projections: tuple[str, ...]
    attention_out: str
    ffn_in: tuple[str, ...]
    ffn_out: str
    attention_sum: tuple[str, Side]
    ffn_sum: tuple[str, Side]
    size: str
    counts: tuple[str, ...] = ()
    totals: tuple[str, ...] = ()
    head_blocks: int = 1
    ffn_blocks: int = 1
    scales: tuple[str, str] | None = None
    table: str | None = None
    shared_table: str | None = None
    groups: bool = False
    untraced: frozenset[PartKind] = frozenset()
    fixed: Mapping[Cuttable, str] = field(default_factory=dict)
    repeated: bool = False
    config_width: str | None = "intermediate_size"
    config_ratio: str | None = None
    config_size: str | None = None
    layer_counts: tuple[str, ...] = ()

    @property
    def staged(self) -> bool:
        """Whether the layers stand in several lists, each of its own width."""
        return "*" in self.layers and not self.repeated


_BERT = Family(
    layers="encoder.layer",
    attention="attention.self",
    projections=("attention.self.query", "attention.self.key", "attention.self.value"),
    attention_out="attention.output.dense",
    ffn_in=("intermediate.dense",),
    ffn_out="output.dense",
    attention_sum=("attention.output.LayerNorm", "input"),
    ffn_sum=("output.LayerNorm", "input"),
    size="attention_head_size",
    counts=("num_attention_heads",),
    totals=("all_head_size",),
)
_DEBERTA = replace(
    _BERT,
    projections=(
        "attention.self.query_proj",
        "attention.self.key_proj",
        "attention.self.value_proj",
        "attention.self.pos_key_proj",
        "attention.self.pos_query_proj",
    ),
    # Forward splits by this count: left as it was, the result would be wrong without an error.
    counts=("num_attention_heads",),
)
_MPNET = replace(
    _BERT,
    attention="attention.attn",
    projections=("attention.attn.q", "attention.attn.k", "attention.attn.v"),
    attention_out="attention.attn.o",
    attention_sum=("attention.LayerNorm", "input"),
    # The graph goes from layer to layer through the positions' table, and counts its heads as rows.
    shared_table="encoder.relative_attention_bias",
    untraced=frozenset({"heads"}),
)
_ALBERT = Family(
    layers="encoder.albert_layer_groups.*.albert_layers",
    attention="attention",
    projections=("attention.query", "attention.key", "attention.value"),
    attention_out="attention.dense",
    ffn_in=("ffn",),
    ffn_out="ffn_output",
    attention_sum=("attention.LayerNorm", "input"),
    ffn_sum=("full_layer_layer_norm", "input"),
    size="attention_head_size",
    counts=("num_attention_heads",),
    totals=("all_head_size",),
    fixed={
        "layers": "it runs one layer again and again, so removing some would save no weights, and unsharing "
        "them would multiply these"
    },
    repeated=True,
)
_DISTILBERT = Family(
    layers="transformer.layer",
    attention="attention",
    projections=("attention.q_lin", "attention.k_lin", "attention.v_lin"),
    attention_out="attention.out_lin",
    ffn_in=("ffn.lin1",),
    ffn_out="ffn.lin2",
    attention_sum=("sa_layer_norm", "input"),
    ffn_sum=("output_layer_norm", "input"),
    size="attention_head_size",
    counts=("n_heads",),
    config_width="hidden_dim",
    layer_counts=("n_layers",),
)
_MODERNBERT = Family(
    layers="layers",
    attention="attn",
    projections=("attn.Wqkv",),
    attention_out="attn.Wo",
    ffn_in=("mlp.Wi",),
    ffn_out="mlp.Wo",
    attention_sum=("mlp_norm", "input"),
    ffn_sum=("", "output"),
    size="head_dim",
    head_blocks=3,
    ffn_blocks=2,
    # The graph takes a row of the queries for all three of a head's.
    untraced=frozenset({"heads"}),
)
_VIT = Family(
    layers="layers",
    attention="attention",
    projections=("attention.q_proj", "attention.k_proj", "attention.v_proj"),
    attention_out="attention.o_proj",
    ffn_in=("mlp.fc1",),
    ffn_out="mlp.fc2",
    attention_sum=("layernorm_after", "input"),
    ffn_sum=("", "output"),
    size="head_dim",
    counts=("num_attention_heads",),
    config_size="head_dim",
)
_DINOV2 = replace(
    _VIT,
    layers="encoder.layer",
    attention_sum=("norm2", "input"),
    scales=("layer_scale1", "layer_scale2"),
    config_width=None,
    config_ratio="mlp_ratio",
)
_DINOV2_GATED = replace(
    _DINOV2, ffn_in=("mlp.gate_proj", "mlp.up_proj"), ffn_out="mlp.down_proj", config_ratio=None
)
_SWIN = replace(
    _VIT,
    layers="encoder.layers.*.blocks",
    table="attention.relative_position_bias",
    untraced=frozenset({"heads"}),
    fixed={"layers": "it is built in stages, each of its own width and its own number of blocks"},
    config_width=None,
    config_size=None,
)
_WAV2VEC2 = Family(
    layers="encoder.layers",
    attention="attention",
    projections=("attention.q_proj", "attention.k_proj", "attention.v_proj"),
    attention_out="attention.out_proj",
    ffn_in=("feed_forward.intermediate_dense",),
    ffn_out="feed_forward.output_dense",
    attention_sum=("layer_norm", "input"),
    ffn_sum=("final_layer_norm", "input"),
    size="head_dim",
    counts=("num_heads",),
)
_WAVLM = replace(
    _WAV2VEC2,
    fixed={
        "heads": "its attention splits the hidden state itself by heads, for the gates of its positions, and "
        "takes no other number of them"
    },
)
_WHISPER = replace(
    _WAV2VEC2,
    attention="self_attn",
    projections=("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    attention_out="self_attn.out_proj",
    ffn_in=("fc1",),
    ffn_out="fc2",
    attention_sum=("final_layer_norm", "input"),
    ffn_sum=("", "output"),
    config_width="encoder_ffn_dim",
)
_LLAMA = Family(
    layers="layers",
    attention="self_attn",
    projections=("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    attention_out="self_attn.o_proj",
    ffn_in=("mlp.gate_proj", "mlp.up_proj"),
    ffn_out="mlp.down_proj",
    attention_sum=("post_attention_layernorm", "input"),
    ffn_sum=("", "output"),
    size="head_dim",
    groups=True,
    # torch-pruning 1.6.1 does not come to an end on the masks of decoders.
    untraced=frozenset({"heads", "ffn"}),
    config_size="head_dim",
)
_NOMIC = replace(_LLAMA, groups=False, ffn_sum=("post_mlp_layernorm", "input"), untraced=frozenset())
_MODERNBERT_DECODER = replace(
    _MODERNBERT,
    projections=("attn.q_proj", "attn.k_proj", "attn.v_proj"),
    head_blocks=1,
    counts=("num_heads",),
    totals=("all_head_size",),
    untraced=frozenset({"heads", "ffn"}),
)
_CONV1D = "its linear layers are of the class Conv1D, whose weights lie the other way round"
_GPT2 = Family(
    layers="h",
    attention="attn",
    projections=("attn.c_attn",),
    attention_out="attn.c_proj",
    ffn_in=("mlp.c_fc",),
    ffn_out="mlp.c_proj",
    attention_sum=("ln_2", "input"),
    ffn_sum=("", "output"),
    size="head_dim",
    head_blocks=3,
    fixed={"heads": _CONV1D, "ffn": _CONV1D},
    config_width=None,
)

FAMILIES: dict[str, Family] = {
    "albert": _ALBERT,
    "bert": _BERT,
    "camembert": _BERT,
    "deberta-v2": _DEBERTA,
    "deit": _VIT,
    "dinov2": _DINOV2,
    "dinov2_with_registers": _DINOV2,
    "distilbert": _DISTILBERT,
    "electra": _BERT,
    "ernie": _BERT,
    "eurobert": _LLAMA,
    "gpt2": _GPT2,
    "hubert": _WAV2VEC2,
    "llama": _LLAMA,
    "modernbert": _MODERNBERT,
    "modernbert-decoder": _MODERNBERT_DECODER,
    "mpnet": _MPNET,
    "nomic_bert": _NOMIC,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
    "roberta": _BERT,
    "swin": _SWIN,
    "vit": _VIT,
    "wav2vec2": _WAV2VEC2,
    "wavlm": _WAVLM,
    "whisper": _WHISPER,
    "xlm-roberta": _BERT,
}


def family_of(model: PreTrainedModel) -> Family:
    """The description of a model's family.

    Raises:
        ModelError: the family is not known, or the model is a variant of it that cannot be pruned.
    """
    config, kind = model.config, getattr(model.config, "model_type", None)
    if kind not in FAMILIES:
        raise ModelError(
            f"{a_type(model)} (type '{kind}') cannot be pruned: paredown knows the layers of "
            f"{', '.join(sorted(FAMILIES))}. Leave the prune stage out (export-onnx, "
            "quantize-onnx and half-precision take it as it is, and distill teaches a smaller one), or start "
            "from one of these."
        )
    family = FAMILIES[kind]
    if family.repeated and (config.num_hidden_groups, config.inner_group_num) != (1, 1):
        raise ModelError(
            f"{a_type(model)} that shares its layers in {config.num_hidden_groups} groups of "
            f"{config.inner_group_num} cannot be pruned; one layer shared by all can. Leave the prune stage "
            "out: export-onnx, quantize-onnx and half-precision take it as it is."
        )
    if kind == "whisper" and not hasattr(model, "encoder"):
        raise ModelError(
            f"{a_type(model)} writes text with a decoder, and only Whisper's encoder under a "
            "classifier (WhisperForAudioClassification) can be pruned"
        )
    if getattr(config, "use_swiglu_ffn", False):
        return _DINOV2_GATED
    if getattr(config, "do_stable_layer_norm", False):  # pre-norm variant of the wav2vec2 family
        return replace(family, attention_sum=("final_layer_norm", "input"), ffn_sum=("", "output"))
    return family
