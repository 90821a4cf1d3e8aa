"""The MLflow client against servers that drop connections, want a token, or show a certificate of their own."""

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from textmill.ground.errors import UserError
from textmill.registry import mlflow_client
from textmill.registry.mlflow_client import LoginRefused, MlflowRefusal, MlflowServer

VARIABLES = ("USERNAME", "PASSWORD", "TOKEN", "INSECURE_TLS", "SERVER_CERT_PATH")


@pytest.fixture(autouse=True)
def _nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(f"MLFLOW_TRACKING_{name}", raising=False)


class _Handler(BaseHTTPRequestHandler):
    """Answers what it was asked, and by whom; drops a connection that it has answered `answers` requests on."""

    protocol_version = "HTTP/1.1"
    answers = 1_000
    status = 200
    asked: list[str]

    def setup(self) -> None:
        super().setup()
        self.answered = 0

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def _answer(self) -> None:
        said = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.answered == self.answers:  # as a server whose patience with a resting connection has ended
            self.close_connection = True
            return
        self.answered += 1
        self.asked.append(said.decode())
        body = json.dumps({"path": self.path, "who": self.headers.get("Authorization", "")}).encode()
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@contextmanager
def _serving(tls: ssl.SSLContext | None = None, **how: Any) -> Iterator[tuple[str, list[str]]]:
    """The address of a server that answers so, and what it was sent."""
    asked: list[str] = []
    handler = type("Handler", (_Handler,), {**how, "asked": asked})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        http.daemon_threads = True
        http.block_on_close = False
        if tls:
            http.socket = tls.wrap_socket(http.socket, server_side=True)
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{http.server_port}", asked
        http.shutdown()


def test_a_dropped_connection_is_asked_again_and_a_silent_server_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"what is sent, whole")
    with _serving(answers=1) as (address, asked):
        server = MlflowServer(f"http://{address}")
        for number in range(3):
            server.call("POST", "runs/update", {"number": number})
            server.put_file("mlflow-artifacts:/1", "file", tmp_path / "file")
        assert asked[::2] == [f'{{"number": {number}}}' for number in range(3)]
        assert asked[1::2] == 3 * ["what is sent, whole"]
    with _serving(answers=0) as (address, _), pytest.raises(UserError, match=r"does not answer \(ConnectionError\)"):
        MlflowServer(f"http://{address}").call("GET", "runs/get", {})
    monkeypatch.setattr(mlflow_client, "_ANSWER_WITHIN_S", 0.1)
    silent = threading.Event()
    with _serving(setup=lambda _: silent.wait(30)) as (address, _):
        with pytest.raises(UserError, match=r"does not answer \(ReadTimeout\)"):
            MlflowServer(f"http://{address}").call("GET", "runs/get", {})
        silent.set()


def test_the_path_of_the_address_stands_before_every_call(tmp_path: Path) -> None:
    with _serving() as (address, _):
        server = MlflowServer(f"http://{address}/behind/mlflow/")
        assert (
            server.call("GET", "runs/get", {"run_id": "1"})["path"] == "/behind/mlflow/api/2.0/mlflow/runs/get?run_id=1"
        )
        server.get_file("mlflow-artifacts:/1/a b", "näme", tmp_path / "file")
        path = json.loads((tmp_path / "file").read_text("utf-8"))["path"]
        assert path == "/behind/mlflow/api/2.0/mlflow-artifacts/artifacts/1/a%20b/n%C3%A4me"
        server.get_file("mlflow-artifacts://elsewhere:5000/1", "name", tmp_path / "file")
        path = json.loads((tmp_path / "file").read_text("utf-8"))["path"]
        assert path == "/behind/mlflow/api/2.0/mlflow-artifacts/artifacts/1/name"
        with pytest.raises(
            UserError, match=r"which MLflow at .* does not pass on; start the server with --serve-artifacts"
        ):
            server.put_file("s3://bucket/1", "name", b"")


def test_the_login_is_the_addresss_own_or_mlflows_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    with _serving() as (address, _):

        def who(uri: str = f"http://{address}") -> str:
            return str(MlflowServer(uri).call("GET", "runs/get", {})["who"])

        assert who() == ""
        monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "secret\n")
        assert who() == "Bearer secret"
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "Jürgen")
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "a:b")
        assert who() == "Basic SsO8cmdlbjphOmI="
        assert who(f"http://her:p%40ss@{address}/") == "Basic aGVyOnBAc3M="
        assert MlflowServer(f"http://her:p%40ss@{address}/").shown == f"http://{address}"


@pytest.mark.parametrize(
    ("status", "error", "said"),
    [
        (401, LoginRefused, "asks for a login; set MLFLOW_TRACKING_USERNAME"),
        (403, LoginRefused, "forbids runs/get"),
        (404, MlflowRefusal, "knows no runs/get .* check MLFLOW_TRACKING_URI"),
    ],
)
def test_a_refusal_names_its_cure(status: int, error: type[MlflowRefusal], said: str) -> None:
    with _serving(status=status) as (address, _), pytest.raises(error, match=said) as raised:
        MlflowServer(f"http://{address}").call("GET", "runs/get", {})
    assert raised.value.exit_code == (2 if error is LoginRefused else 1)


def test_figures_go_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    with _serving() as (address, asked):
        metrics = [{"key": "loss", "value": float("nan"), "timestamp": 1, "step": step} for step in range(1000)]
        tags = {f"tag {number}": True for number in range(101)}
        MlflowServer(f"http://{address}").log("a run", metrics, {"steps": 3}, tags)
    first, second = (json.loads(each) for each in asked)
    assert (len(first["metrics"]), len(first["params"]), len(first["tags"])) == (800, 1, 100)
    assert (len(second["metrics"]), second["tags"]) == (200, [{"key": "tag 100", "value": "True"}])
    assert first["metrics"][0]["value"] == "NaN"


def test_a_certificate_of_ones_own_is_named_or_not_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = _certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, tmp_path / "key.pem")
    with _serving(context) as (address, _):

        def call() -> dict[str, Any]:
            return MlflowServer(f"https://{address}").call("GET", "runs/get", {})

        with pytest.raises(UserError, match=r"SSLError\); name .* in MLFLOW_TRACKING_SERVER_CERT_PATH"):
            call()
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "none.pem"))  # says less than MLflow's own
        monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(certificate))
        assert call()
        monkeypatch.setenv("MLFLOW_TRACKING_INSECURE_TLS", "true")
        assert call()


def _certificate(folder: Path) -> Path:
    """A certificate for 127.0.0.1 that signs itself; its key lies beside it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a test")]), datetime.now(UTC)
    addresses = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))])
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, now + timedelta(1))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    file = folder / "certificate.pem"
    signed = made.add_extension(addresses, critical=False).sign(key, hashes.SHA256())
    file.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    return file
