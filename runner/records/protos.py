"""TensorBoard's messages and checksums, as tensorboardX defines them."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def _hidden(name: str) -> Iterator[None]:
    """Context manager in which a module cannot be imported, unless it already has been."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[name]


# Where PyTorch is installed, tensorboardX imports it, which takes seconds, for a type annotation.
# Its functions import it again when they need it.
with _hidden("torch"):
    from tensorboardX import summary
    from tensorboardX.crc32c import crc32c
    from tensorboardX.proto import api_pb2, event_pb2, plugin_hparams_pb2, summary_pb2
    from tensorboardX.record_writer import masked_crc32c

# protobuf creates its classes at import time, so type checkers do not see them.
Event = event_pb2.Event  # pyright: ignore[reportAttributeAccessIssue]
SessionLog = event_pb2.SessionLog  # pyright: ignore[reportAttributeAccessIssue]
Summary = summary_pb2.Summary  # pyright: ignore[reportAttributeAccessIssue]
Status = api_pb2.Status  # pyright: ignore[reportAttributeAccessIssue]
SummaryMetadata = summary_pb2.SummaryMetadata  # pyright: ignore[reportAttributeAccessIssue]
HParamsPluginData = plugin_hparams_pb2.HParamsPluginData  # pyright: ignore[reportAttributeAccessIssue]
SessionEndInfo = plugin_hparams_pb2.SessionEndInfo  # pyright: ignore[reportAttributeAccessIssue]

__all__ = [
    "Event",
    "HParamsPluginData",
    "SessionEndInfo",
    "SessionLog",
    "Status",
    "Summary",
    "SummaryMetadata",
    "crc32c",
    "masked_crc32c",
    "summary",
]
