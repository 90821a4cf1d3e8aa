"""Compile the pipeline for Kubeflow Pipelines 2."""

from pathlib import Path

from tfx.orchestration.kubeflow.v2.kubeflow_v2_dag_runner import KubeflowV2DagRunner, KubeflowV2DagRunnerConfig
from tfx.orchestration.pipeline import Pipeline

from pipeline.graph import Resolved, graph
from textmill.settings import Config

CHECKPOINTS = Path("/checkpoints")  # a volume that outlives the step


def compile_pipeline(config: Config, resolved: Resolved, image: str, root: str, file: Path) -> None:
    """Write the pipeline as YAML of schema 2.1.0, the one that open-source Kubeflow Pipelines 2 reads.

    Args:
        image: the container image in which every step runs.
        root: URI of the folder for artifacts, such as `minio://mlpipeline/textmill`.
        file: must end in `.yaml`; the runner would otherwise write a JSON that Kubeflow Pipelines does not take.
    """
    assert file.suffix == ".yaml"
    runner_config = KubeflowV2DagRunnerConfig(default_image=image, use_pipeline_spec_2_1=True)
    runner = KubeflowV2DagRunner(runner_config, output_dir=str(file.parent), output_filename=file.name)
    pipeline = Pipeline(
        pipeline_name=config.name,
        pipeline_root=root,
        components=graph(config, resolved, CHECKPOINTS),
        enable_cache=True,
        beam_pipeline_args=config.beam.options,
    )
    runner.run(pipeline, write_out=True)
