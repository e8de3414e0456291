"""Members of a multirun that a launcher of another package runs, in batches."""

from types import SimpleNamespace

import pytest
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf

from runner.cli.sweep import _code, _launched
from runner.errors import ConfigError, InterruptedRunError, TerminatedRunError


@pytest.mark.parametrize(
    ("size", "batches"), [(None, [(0, 5)]), (2, [(0, 2), (2, 2), (4, 1)]), (5, [(0, 5)])]
)
def test_every_member_is_launched_once_and_failures_have_its_number(size, batches):
    launched = []

    def launch(members, initial_job_idx):
        launched.append((initial_job_idx, len(members)))
        done = []
        for (name,) in members:
            failed = name in ("seed=1", "seed=4")
            status = JobStatus.FAILED if failed else JobStatus.COMPLETED
            value = OSError(name) if failed else 1.0
            done.append(JobReturn(status=status, _return_value=value))
        return done

    cfg = OmegaConf.create({"hydra": {"sweeper": {"max_batch_size": size}}})
    members = [[f"seed={number}"] for number in range(5)]
    found = [(n, str(e)) for n, e in _launched(SimpleNamespace(launch=launch), cfg, members)]
    assert found == [(1, "seed=1"), (4, "seed=4")]
    assert launched == batches


@pytest.mark.parametrize("signalled", [InterruptedRunError, TerminatedRunError])
def test_a_signal_to_one_member_ends_the_multirun_and_an_error_does_not(signalled, capsys):
    with pytest.raises(signalled):
        _code(0, ["seed=1"], signalled("run", "stopped", "resume it"))
    assert _code(3, ["seed=1"], ConfigError("seed", "is odd", "change it")) == 2
    assert capsys.readouterr().err == "error: job 3 (seed=1): seed: is odd; change it\n"
