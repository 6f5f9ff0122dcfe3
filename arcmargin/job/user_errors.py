"""Which errors are the user's to mend, and the one sentence that each of them deserves."""

import errno
import re

from hydra.errors import HydraException, InstantiationException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from arcmargin.errors import UserError

_DISK_ERRORS = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM),
    *(errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG),
}


def users_mistake(error: BaseException) -> str | None:
    """One sentence when the user can mend it; None when it is ours and deserves its traceback."""
    chain = [error]
    while (cause := chain[-1].__cause__) is not None:
        chain.append(cause)
    for link in chain:
        if isinstance(link, UserError):
            return str(link)
    if memory := _out_of_memory(chain[-1]):
        return (
            f"out of memory ({memory}); try a smaller batch_size or embedding_dim, class_chunk where "
            "there are many classes, smaller images or fewer of them, or fewer jobs at once"
        )
    if isinstance(error, InstantiationException):
        # A setting that the object does not take, one that does not exist, or that Hydra refuses.
        fits = isinstance(chain[-1], TypeError | ImportError | AttributeError | type(error))
        return _one_line(error) if fits else None
    if isinstance(error, OverrideParseException):
        return f"cannot read '{error.override}'; expected key=value, or key=a,b with --multirun"
    if isinstance(error, HydraException | OmegaConfBaseException):
        return _one_line(error) + _further(chain[1:])
    if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
        return f"cannot write the output: {error}; free some space or choose another folder"
    if re.search("PytorchStreamWriter|unexpected pos", str(error)):  # torch's, of a full disk
        return "cannot write the checkpoint: is the disk full? Free some space or choose another folder"
    if "InvalidCxxCompiler" in str(error):  # torch.compile's, at the first step
        return "compile=true needs a C++ compiler; install g++ or clang, or leave it out"
    return None


def sentence(error: BaseException) -> str:
    """What went wrong, in one line."""
    told = users_mistake(error) or f"{type(error).__name__}: {error}"
    return re.sub(r"\s+", " ", told).strip().removesuffix(":")


def _out_of_memory(error: BaseException) -> str | None:
    """How much was asked for, as torch or numpy said it, or which of them said so; None for another
    error."""
    text = str(error)
    said = re.search(r"can't allocate memory|out of memory|unable to allocate", text, re.IGNORECASE)
    known = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    if not (known or (said and isinstance(error, RuntimeError))):
        return None
    size = re.search(r"allocate (\d+(?:\.\d+)?)\.? ?([KMGTPE]?i?B|bytes)\b", text)
    return f"{size[1]} {size[2]} asked for" if size else type(error).__name__


def _further(causes: list[BaseException]) -> str:
    """The first cause's first line: OmegaConf's others repeat the key and name our schema."""
    return f": {str(causes[0]).splitlines()[0]}" if causes and str(causes[0]) else ""


def _one_line(error: BaseException) -> str:
    text = str(error).partition("Config search path:")[0]  # Hydra lists ours below it
    return re.sub(r"\s+", " ", text).strip()
