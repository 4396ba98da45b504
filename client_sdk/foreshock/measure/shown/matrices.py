"""Feature matrices and pairs of views as a training loop has them in; flat tensors, or a sentence that says what to pass, out."""

from __future__ import annotations

from torch import Tensor

from foreshock.measure.statistics.collapse import CLASSES

SQUARE = 4096  # columns of a predictor, at most


def flatten(h: Tensor, mask: Tensor | None, labels: Tensor | None) -> dict[str, Tensor]:
    """``x`` […, width], ``valid`` [rows] and ``labels`` [rows] where given."""
    h = _matrix("features", h)
    given = {"x": h.detach()}
    for name, value in (("mask", mask), ("labels", labels)):
        if value is None:
            continue
        if not isinstance(value, Tensor) or value.shape != h.shape[:-1]:
            shape = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(
                f"{name} has shape {shape}; pass one entry per row of the features, {list(h.shape[:-1])}"
            )
        if value.device != h.device:
            raise ValueError(
                f"{name} is on {value.device}, the features on {h.device}; move it there with the batch"
            )
        if name == "mask":
            given["valid"] = value.detach().reshape(-1) > 0
        else:
            if value.is_floating_point():
                raise ValueError(f"labels has dtype {value.dtype}; pass class numbers, as integers")
            given["labels"] = value.detach().reshape(-1).long()
    return given


def pair(z1: Tensor, z2: Tensor) -> tuple[Tensor, Tensor]:
    """Both views [samples, width]."""
    z1, z2 = _matrix("z1", z1), _matrix("z2", z2)
    if z1.shape != z2.shape:
        raise ValueError(
            f"z1 has shape {list(z1.shape)}, z2 {list(z2.shape)}; pass the embeddings of the same samples in the same order"
        )
    return z1.detach().reshape(-1, z1.shape[-1]), z2.detach().reshape(-1, z2.shape[-1])


def companions(
    h: Tensor,
    labels: Tensor | None,
    classifier: Tensor | None,
    bias: Tensor | None,
    teacher: Tensor | None,
    previous: Tensor | None,
) -> dict[str, Tensor]:
    """``classifier`` [classes, width], ``bias`` [classes], ``teacher`` and ``previous`` [rows…, any width] where given."""
    given: dict[str, Tensor] = {}
    for name, value in (("classifier", classifier), ("bias", bias)):
        if value is None:
            continue
        if labels is None:
            raise ValueError(f"{name} tells how features of a class compare with it; pass labels=[rows] too")
        given[name] = _whole(name, value, h).detach()
    if classifier is not None and (classifier.dim() != 2 or classifier.shape[1] != h.shape[-1]):
        raise ValueError(
            f"classifier has shape {list(classifier.shape)}; pass the last layer's weight, [classes, {h.shape[-1]}]"
        )
    if bias is not None and (classifier is None or bias.shape != classifier.shape[:1]):
        raise ValueError(
            f"bias has shape {list(bias.shape)}; pass one number per row of the classifier, and it"
        )
    for name, value in (("teacher", teacher), ("previous", previous)):
        if value is None:
            continue
        value = _whole(name, _matrix(name, value), h)
        if value.shape[:-1] != h.shape[:-1]:
            raise ValueError(
                f"{name} has shape {list(value.shape)}; pass a representation of the same rows, {[*h.shape[:-1], 'width']}"
            )
        given[name] = value.detach()
    return given


def known_classes(classes: int | None, classifier: Tensor | None, labels: Tensor | None) -> int:
    """How many there are; 0 where that was not said."""
    known = len(classifier) if classifier is not None else classes or 0
    if classes is not None and labels is None:
        raise ValueError("classes says how many the labels can be; pass labels=[rows] too")
    if classes is not None and classes != known:
        raise ValueError(f"classes={classes}, but the classifier has {known} rows; leave classes out")
    if known == 1 or known < 0:
        raise ValueError(f"classes={known}; pass two or more, or leave it out")
    if known > CLASSES:
        raise ValueError(
            f"{known} classes are more than one batch shows: at most {CLASSES} are compared pair by pair; leave classes and"
            " classifier out, and the width of the classes is measured all the same"
        )
    return known


def of_views(h: Tensor, views: int | None) -> None:
    """Complain unless the rows fall into items of so many views."""
    if views is None:
        return
    rows = h.shape[:-1].numel()
    if views < 2 or rows % views or rows // views < 2 or (h.dim() == 3 and h.shape[1] != views):
        raise ValueError(
            f"views={views} of features {list(h.shape)}; pass [items, {views}, width], or the {views} views of each item"
            " one after another, of two items or more, and at least two views"
        )


def square(predictor: Tensor, z: Tensor) -> Tensor:
    """The weight of a linear predictor from this width to the same."""
    if not isinstance(predictor, Tensor) or predictor.shape != (z.shape[-1], z.shape[-1]):
        shape = list(predictor.shape) if isinstance(predictor, Tensor) else type(predictor).__name__
        raise ValueError(
            f"predictor has shape {shape}; pass the weight of a linear predictor, [{z.shape[-1]}, {z.shape[-1]}]"
        )
    if z.shape[-1] > SQUARE:
        raise ValueError(
            f"predictor is {z.shape[-1]} wide; at most {SQUARE} columns are compared: leave it out"
        )
    return _whole("predictor", predictor, z).detach()


def _whole(name: str, value: object, beside: Tensor) -> Tensor:
    """A tensor on the same device, and all of it on this rank."""
    if not isinstance(value, Tensor):
        raise ValueError(f"{name} is a {type(value).__name__}; pass a torch tensor")
    if hasattr(value, "to_local"):
        if any(placement.is_shard() for placement in getattr(value, "placements", ())):
            raise ValueError(f"{name} is spread over ranks; pass {name}.full_tensor()")
        local: Tensor = value.to_local()
        value = local
    if value.device != beside.device:
        raise ValueError(f"{name} is on {value.device}, the features on {beside.device}; move it there")
    return value


def _matrix(name: str, value: object) -> Tensor:
    if not isinstance(value, Tensor) or not value.is_floating_point():
        what = value.dtype if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(f"{name} is {what}; pass a floating tensor [rows, width]")
    if value.dim() < 2 or value.shape[-1] == 0:
        raise ValueError(
            f"{name} has shape {list(value.shape)}; pass [rows, width] or [batch, tokens, width]"
        )
    return value
