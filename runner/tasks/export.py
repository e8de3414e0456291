"""Exports the model of a saved run for use without this package."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from etils import epy

from runner import __version__
from runner.config import Config
from runner.config.markers import Whole
from runner.records.ending import Ending
from runner.registry import register_task

with epy.lazy_imports():
    import jax

    from runner.experiment import device, saved_run
    from runner.experiment import export as stablehlo
    from runner.records import model_files, snapshot_files
    from runner.report import announce, text

if TYPE_CHECKING:
    from jax.export import Exported

    from runner.experiment.saved_run import SavedRun


@register_task("export")
def export(
    config: Config,
    folder: Path,
    ending: Ending,
    *,
    step: Annotated[int, Whole(0)] | None = None,
    best: bool = False,
    snapshot: Annotated[int, Whole(0)] | Literal["swa"] | None = None,
) -> None:
    """Writes ``model.stablehlo``, ``model.safetensors`` and ``model.json`` to ``folder``.

    Raises:
      RunnerError: no run is named, its checkpoint cannot be used, or the model cannot be exported.
    """
    chosen = device.prepare_device(config)
    screen = announce.open_screen(chosen)
    with jax.default_device(chosen):
        saved = snapshot_files.task_checkpoint(
            config.resume, step=step, best=best, snapshot=snapshot
        )
        run = saved_run.saved_run(config, saved)
        announce.print_line(screen, f"step {run.step:,} of {run.origin['folder']}")
        exported = stablehlo.exported_model(run)
        names = model_files.write_model(
            folder,
            stablehlo=bytes(exported.serialize()),
            arrays=run.arrays(),
            description=_description(config, run, exported),
        )
    announce.print_line(screen, f"{text.short_path(folder)}/{', '.join(names)}")


def _description(config: Config, run: SavedRun, exported: Exported) -> dict[str, Any]:
    model = {k: v for k, v in config.hparams.items() if k.partition(".")[0] == "model"}
    return {
        "model": model,
        "inputs": {"dtype": run.dtype, "shape": ["batch", *run.shape]},
        "outputs": {"dtype": "float32", "shape": ["batch", *run.objective.output_shape]},
        "classes": run.classes,
        # Part of the StableHLO; users of the safetensors file must apply it to the inputs.
        "preprocessing": {"formula": "(inputs - mean) / std", "mean": run.mean, "std": run.std},
        "compute_dtype": run.static.compute_dtype,
        "platforms": list(exported.platforms),
        "parent": run.origin,
        "versions": {"runner": __version__, "jax": jax.__version__},
    }
