"""A real HTTP server that speaks Kubeflow Pipelines' API for upload and run; its answers are kfp-server-api's models.

It takes what the API server takes: a pipeline of schema 2.1.0, named once in each namespace; a run of a known version, whose parameters
the pipeline declares. Everything else is refused in the API server's form.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import kfp_server_api as api
import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2


class Refusal(Exception):
    """What the API server answers with a status other than 200."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Kubeflow:
    """What the server knows."""

    def __init__(self, token: str = "") -> None:
        self.token = token
        self.pipelines: dict[str, api.V2beta1Pipeline] = {}
        self.versions: dict[str, api.V2beta1PipelineVersion] = {}
        self.specifications: dict[str, list[dict[str, Any]]] = {}  # by version
        self.experiments: dict[str, api.V2beta1Experiment] = {}
        self.runs: list[api.V2beta1Run] = []
        self._client = api.ApiClient()

    def answer(self, method: str, path: str, query: dict[str, str], body: bytes, kind: str) -> Any:
        """The model with which a request is answered."""
        if path == "healthz":
            return {"multi_user": False}
        if path == "pipelines" and method == "GET":
            wanted = _named(query)
            space = query.get("namespace", "")
            found = [each for each in self.pipelines.values() if (each.display_name, each.namespace) == (wanted, space)]
            return api.V2beta1ListPipelinesResponse(pipelines=found or None, total_size=len(found))
        if path == "pipelines/upload":
            return self._pipeline(query["name"], query.get("namespace", ""), _uploaded(body, kind))
        if path == "pipelines/upload_version":
            return self._version(query["pipelineid"], query["name"], _uploaded(body, kind))
        if path.endswith("/versions"):
            found = [each for each in self.versions.values() if each.pipeline_id == path.split("/")[1]]
            return api.V2beta1ListPipelineVersionsResponse(pipeline_versions=found, total_size=len(found))
        if path == "experiments" and method == "GET":
            wanted = _named(query)
            found = [each for each in self.experiments.values() if each.display_name == wanted]
            return api.V2beta1ListExperimentsResponse(experiments=found or None, total_size=len(found))
        if path == "experiments":
            experiment = self._read(body, "V2beta1Experiment")
            experiment.experiment_id = f"experiment-{len(self.experiments) + 1}"
            self.experiments[experiment.experiment_id] = experiment
            return experiment
        if path == "runs":
            return self._run(self._read(body, "V2beta1Run"))
        raise Refusal(404, f"Not found: {method} {path}")

    def written(self, model: Any) -> bytes:
        return json.dumps(self._client.sanitize_for_serialization(model)).encode()

    def _read(self, body: bytes, model: str) -> Any:
        response = type("Response", (), {"data": body.decode()})
        return self._client.deserialize(response, model)

    def _pipeline(self, name: str, space: str, file: bytes) -> api.V2beta1Pipeline:
        if any((each.display_name, each.namespace) == (name, space) for each in self.pipelines.values()):
            raise Refusal(409, f"Already exist error: Failed to create a new pipeline. The name {name} already exists")
        identity = f"pipeline-{len(self.pipelines) + 1}"
        self.pipelines[identity] = api.V2beta1Pipeline(pipeline_id=identity, display_name=name, namespace=space)
        self._version(identity, name, file)
        return self.pipelines[identity]

    def _version(self, pipeline: str, name: str, file: bytes) -> api.V2beta1PipelineVersion:
        documents = list(yaml.safe_load_all(file))
        specification = json_format.ParseDict(documents[0], pipeline_spec_pb2.PipelineSpec())
        if specification.schema_version != "2.1.0":
            raise Refusal(400, "Invalid input error: unsupported schema version")
        json_format.ParseDict(documents[1], pipeline_spec_pb2.PlatformSpec())
        identity = f"version-{len(self.versions) + 1}"
        self.versions[identity] = api.V2beta1PipelineVersion(
            pipeline_id=pipeline, pipeline_version_id=identity, display_name=name
        )
        self.specifications[identity] = documents
        return self.versions[identity]

    def _run(self, run: api.V2beta1Run) -> api.V2beta1Run:
        version = run.pipeline_version_reference.pipeline_version_id
        declared = self.specifications[version][0]["root"]["inputDefinitions"]["parameters"]
        if unknown := set(run.runtime_config.parameters or {}) - set(declared):
            raise Refusal(
                400, f"Invalid input error: parameter(s) provided are not required by the pipeline: {unknown}"
            )
        run.run_id = f"run-{len(self.runs) + 1}"
        self.runs.append(run)
        return run


def _named(query: dict[str, str]) -> str:
    (predicate,) = json.loads(query["filter"])["predicates"]
    return str(predicate.get("stringValue") or predicate["string_value"])


def _uploaded(body: bytes, kind: str) -> bytes:
    message = BytesParser().parsebytes(f"Content-Type: {kind}\r\n\r\n".encode() + body)
    (part,) = (part for part in message.walk() if part.get_param("name", header="content-disposition") == "uploadfile")
    return bytes(part.get_payload(decode=True))


@contextmanager
def serving(kubeflow: Kubeflow) -> Iterator[str]:
    """Serve it while the block runs; gives its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(url.query).items()}
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status = 200
            try:
                if kubeflow.token and self.headers.get("Authorization") != f"Bearer {kubeflow.token}":
                    raise Refusal(401, "Unauthenticated: Request header error")
                path = url.path.removeprefix("/apis/v2beta1/")
                model = kubeflow.answer(self.command, path, query, body, self.headers.get("Content-Type", ""))
            except Refusal as refusal:
                status, model = refusal.status, {"error": str(refusal), "code": 3, "message": str(refusal)}
            answer = kubeflow.written(model)
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_POST = do_GET

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
