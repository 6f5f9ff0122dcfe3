"""A margin on the target's logit: what it is, how its gradient flows, the loss and its fast way."""

from abc import abstractmethod
from typing import Any, NamedTuple, TypedDict

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from arcmargin import angles
from arcmargin.errors import UserError
from arcmargin.headers import softmax
from arcmargin.headers.base import IGNORE_INDEX
from arcmargin.headers.cosine import CosineHeader
from arcmargin.headers.sampling import positions_among, sample_classes


class Margins(NamedTuple):
    """One of each for the batch, or one a sample."""

    m1: Tensor | float = 1.0
    m2: Tensor | float = 0.0  # radians
    m3: Tensor | float = 0.0


class MarginOptions(TypedDict, total=False):
    """What every TargetMarginHeader takes besides its own parameters."""

    s: float
    gradient: str
    ramp: float
    init: str
    class_chunk: int | None
    sample_rate: float


class TargetMarginHeader(CosineHeader):
    """A head that replaces the target's logit by s·(ψ(m1·θ + m2) − m3).

    gradient: "detached" lets the margin shift the target's value and not its slope, logits =
    s·(cos θ + stop_gradient(ψ − m3 − cos θ)) (characteristic gradient detachment, Liu et al. 2022,
    arXiv 2109.05565); "autograd" differentiates through ψ, whose slope in cos θ vanishes on
    plateaus and blows up at θ = 0. ramp: the fraction of the training over which the margin grows
    from none to full. init: "random" or "even" class directions.

    sample_rate below 1 is Partial FC (An et al. 2022, arXiv 2203.15565): in training the softmax is
    over the classes of the batch and as many others, drawn anew at each step, as make up this
    fraction of all. The rest get a zero gradient, and still move on by an optimizer's momentum.

    With class_chunk, and where classes are sampled, `loss` does not pass through `forward`, and has
    first derivatives only; the cross-entropy of `forward` has them all. With very many classes and a
    detached margin `loss` has them too and passes by `forward`, unless that has hooks.
    """

    _ramped: Tensor
    _hooked: bool = False  # whether somebody wants to see what passes through forward

    def __init__(
        self,
        embedding_dim: int,
        num_classes: int,
        *,
        s: float = 30.0,
        gradient: str = "detached",
        ramp: float = 0.0,
        init: str = "random",
        class_chunk: int | None = None,
        sample_rate: float = 1.0,
    ) -> None:
        super().__init__(embedding_dim, num_classes, s=s, init=init, class_chunk=class_chunk)
        if not 0.0 < sample_rate <= 1.0:
            raise UserError(f"sample_rate must be in (0, 1], got {sample_rate}")
        for key, given in (
            ("class_chunk", class_chunk is not None),
            ("sample_rate", sample_rate < 1),
        ):
            if given and not self.plain_others:
                raise UserError(
                    f"{type(self).__name__} takes no {key}: only a head whose loss is a softmax "
                    "over s·cos θ_j with a margin on the target alone does; drop it"
                )
        if gradient not in ("detached", "autograd"):
            raise UserError(f"gradient must be 'detached' or 'autograd', got '{gradient}'")
        if not 0.0 <= ramp <= 1.0:
            raise UserError(f"ramp must be in [0, 1], a fraction of the training, got {ramp}")
        self.gradient = gradient
        self.ramp = ramp
        self.sample_rate = sample_rate
        # A tensor, so that a compiled head is not compiled anew at every step.
        self.register_buffer("_ramped", torch.tensor(1.0), persistent=False)

    def set_progress(self, fraction: float) -> None:
        if self.ramp:
            self._ramped.fill_(min(1.0, fraction / self.ramp))

    @property
    def plain_others(self) -> bool:
        """Whether all logits but the target's are s·cos θ_j as they are."""
        own, plain = type(self), TargetMarginHeader
        return (
            own.forward is plain.forward
            and own.scaled_cosines is plain.scaled_cosines
            and own.others is plain.others
        )

    @abstractmethod
    def margins(self, embeddings: Float[Tensor, "n d"], labels: Int[Tensor, " n"]) -> Margins:
        """The full margins of these samples; an unlabelled one comes as class 0."""

    def observe(
        self,
        embeddings: Float[Tensor, "n d"],
        target: Float[Tensor, " n"],
        labels: Int[Tensor, " n"],
    ) -> None:
        """Update running statistics from a training batch, the target's cosines among it."""

    def others(
        self, logits: Float[Tensor, "n c"], threshold: Float[Tensor, " n"], index: Int[Tensor, " n"]
    ) -> Float[Tensor, "n c"]:
        """The logits but for the target's, at `index`; `threshold` is that with its margin."""
        return logits

    def forward(
        self, embeddings: Float[Tensor, "n d"], labels: Int[Tensor, " n"]
    ) -> Float[Tensor, "n c"]:
        self._check(embeddings, labels)
        logits = self.scaled_cosines(embeddings)
        index = labels.clamp_min(0)
        # A margin without a gradient needs no graph. Indexing, for gather would save the logits, which
        # are changed in place below.
        known = logits.detach() if self.gradient == "detached" else logits
        target = known[torch.arange(len(index), device=index.device), index]
        cosine = target / self.s
        if self.training:
            with torch.no_grad():
                self.observe(embeddings.detach(), cosine.detach(), labels)
        shift = self.s * self.target_shift(cosine, self.margins(embeddings, index))
        logits = self.others(logits, (target + shift).detach(), index)
        # Adding in place touches N entries, and the gradient of the others passes through unseen.
        return logits.scatter_add_(1, index[:, None], shift[:, None])

    def loss(
        self, embeddings: Float[Tensor, "n d"], labels: Int[Tensor, " n"]
    ) -> Float[Tensor, ""]:
        if self._whole and not self._past_forward:
            return super().loss(embeddings, labels)
        self._check(embeddings, labels)
        labelled = labels != IGNORE_INDEX
        return self.losses(embeddings, labels).where(labelled, 0.0).sum() / labelled.sum()

    @property
    def _whole(self) -> bool:
        """Whether the softmax is over all classes at once."""
        return self.class_chunk is None and not (self.training and self.sample_rate < 1)

    @property
    def _past_forward(self) -> bool:
        """Whether the loss over all classes is faster without `forward`, and nobody misses that."""
        detached = self.plain_others and self.gradient == "detached"
        many = self.num_classes >= softmax.MANY_CLASSES
        # A compiler fuses the simple way itself.
        return many and detached and not self._hooked and not torch.compiler.is_compiling()

    def register_forward_hook(self, *args: Any, **kwargs: Any) -> RemovableHandle:
        self._hooked = True
        return super().register_forward_hook(*args, **kwargs)

    def register_forward_pre_hook(self, *args: Any, **kwargs: Any) -> RemovableHandle:
        self._hooked = True
        return super().register_forward_pre_hook(*args, **kwargs)

    def losses(
        self,
        embeddings: Float[Tensor, "n d"],
        labels: Int[Tensor, " n"],
        *,
        rows: Int[Tensor, " k"] | None = None,
        group: Any = None,
    ) -> Float[Tensor, " n"]:
        """The loss of each sample without the N×C logits; where the label is −1 it means nothing.

        rows: these classes count, in ascending order, and none is drawn. group: the processes that
        hold the other classes, see PartialFC.
        """
        with torch.autocast(embeddings.device.type, enabled=False):
            x, weight = self._wide(embeddings)
            index = labels.clamp_min(0)
            with torch.no_grad():
                own = weight[index]
                norms = angles.inverse_norm(x) * angles.inverse_norm(own)
                cosine = torch.linalg.vecdot(x, own) * norms[:, 0]
                if self.training:
                    self.observe(embeddings.detach(), cosine, labels)
            shift, slope = self._shift_and_slope(cosine, self.margins(embeddings, index))
            if rows is not None:
                labels = positions_among(rows, labels)
            elif self.training and self.sample_rate < 1:
                rows, labels = sample_classes(labels, self.num_classes, self.sample_rate)
            elif self._whole and slope is None and group is None:
                return softmax.dense_losses(x, weight, labels, self.s * shift.to(x.dtype), s=self.s)
            return softmax.softmax_losses(
                *(x, weight, labels, self.s * shift.to(x.dtype)),
                s=self.s,
                slope=slope,
                rows=rows,
                class_chunk=self.class_chunk,
                group=group,
            )

    def _shift_and_slope(
        self, cosine: Float[Tensor, " n"], full: Margins
    ) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"] | None]:
        """By how much the margin moves the target's cosine, and how that changes with the cosine."""
        if self.gradient == "detached" or not torch.is_grad_enabled():
            return self.target_shift(cosine, full), None
        cosine.requires_grad_()
        shift = self.target_shift(cosine, full)
        (slope,) = torch.autograd.grad(shift.sum(), cosine, retain_graph=True)
        return shift, slope

    def target_shift(self, cosine: Float[Tensor, " n"], full: Margins) -> Float[Tensor, " n"]:
        """By how much the margin moves the target's cosine."""
        m1, m2, m3 = self._ramp(full)
        if self.gradient == "detached":
            cosine = cosine.detach()
        return angles.target_cosine(cosine, m1, m2, m3) - cosine

    def _ramp(self, full: Margins) -> Margins:
        if not self.ramp:
            return full
        r = self._ramped
        return Margins(1 + r * (full.m1 - 1), r * full.m2, r * full.m3)

    def extra_repr(self) -> str:
        text = f"{super().extra_repr()}, gradient={self.gradient}, ramp={self.ramp:g}"
        text += f", sample_rate={self.sample_rate:g}" if self.sample_rate < 1 else ""
        return text + (f", class_chunk={self.class_chunk}" if self.class_chunk else "")
