"""The command: what it refuses, what it says, and how it ends."""

import contextlib
import json
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request

import pytest
import tools

from tf_transfer import serving
from tf_transfer.errors import UserError
from tf_transfer.serving.http import server


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"port": "http"}, "--port: expected a whole number, got 'http'"),
        ({"port": "70000"}, "--port: expected a whole number from 0 to 65535, got 70000"),
        ({"max_batch": "0"}, "--max_batch: expected a whole number from 1 to 1024"),
        ({"max_request_mb": "-1"}, "--max_request_mb: expected"),
        ({"rate_limit": "nan"}, "--rate_limit: expected a number from 0"),
        ({"model_name": "a/b"}, "--model_name='a/b': expected a name without"),
        ({"model_name": "a\x1b[31m"}, "--model_name"),
        ({"host": "no such host"}, "--host='no such host': no such address here"),
    ],
)
def test_options_are_refused_in_a_line(run, options, message):
    with pytest.raises(UserError, match=message.replace("[", r"\[")) as error:
        server.prepare(str(run), {"port": "0"} | options)
    assert "\n" not in str(error.value)


def test_the_model_is_found_and_named(tmp_path):
    for place in ("runs/roses/saved_model/1", "models/my net/9", "models/my net/10", "models/my net/junk", "plain"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "saved_model.pb").touch()
    found = {
        "runs/roses": ("1", "roses"),
        "runs/roses/saved_model": ("1", "roses"),
        "runs/roses/saved_model/1": ("1", "roses"),
        "models/my net": ("10", "my-net"),
        "models/my net/9": ("9", "my-net"),
        "plain": ("plain", "plain"),
    }
    for place, (name, model) in found.items():
        folder = serving.locate(tmp_path / place)
        assert (folder.name, server.default_name(folder)) == (name, model)
    with pytest.raises(UserError, match=r"no saved_model.pb there; run --phase=export first"):
        serving.locate(tmp_path / "runs")
    with pytest.raises(UserError, match="there is no such folder"):
        serving.locate("x" * 3000)


def test_a_port_that_is_taken(run):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=rf"--port={port}: cannot be had on 127.0.0.1 \(Address already in use\)"):
            server.prepare(str(run), {"port": str(port)})


@pytest.mark.parametrize("package", ["aiohttp", "prometheus_client"])
def test_without_a_package_a_line_says_what_to_install(run, tmp_path, package):
    program = f'HIDDEN = {{"{package}"}}' + tools.HIDE + "from tf_transfer import cli; cli.run()"
    done = tools.python("-c", program, "--phase=serve", f"--run_dir={run}", cwd=tmp_path)
    tools.assert_refused(done, rf"needs {package.replace('_', '-')}: pip install .*pip install -e '\.\[serve\]'")


@contextlib.contextmanager
def process(run, *flags):
    command = [sys.executable, str(tools.ROOT / "run.py"), "--phase=serve", f"--run_dir={run}", "--port=0", *flags]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, preexec_fn=tools.heed_interrupts, **pipes) as running:
        try:
            yield running, running.stdout.readline()
        finally:
            running.kill()


def address(url):
    host, _, port = url.removeprefix("http://").rstrip("/").rpartition(":")
    return host, int(port)


def test_it_says_where_it_is_and_stops_when_all_are_answered(run):
    with process(run, "--host=0.0.0.0", "--model_name=digits") as (running, line):
        url = line.split()[1].replace("0.0.0.0", "127.0.0.1")
        assert "model digits, version 1, signatures features, serve_bytes, serving_default" in line
        assert "there is no authentication" in running.stdout.readline()
        # One request is being computed when the signal comes, and of another the body is still coming.
        body = json.dumps({"instances": [[[[i % 256] * 3] * 28] * 28 for i in range(400)]}).encode()
        answers = []

        def ask():
            with urllib.request.urlopen(f"{url}v1/models/digits:predict", body, timeout=60) as answer:
                answers.append(len(json.load(answer)["predictions"]))

        asking = threading.Thread(target=ask)
        small = b'{"instances": [[[[0]]]]}'
        with socket.create_connection(address(url)) as client:
            head = f"POST /v1/models/digits:predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(small)}\r\n\r\n"
            client.sendall(head.encode() + small[:5])
            asking.start()
            while "requests_under_way 2" not in urllib.request.urlopen(url + "metrics").read().decode():
                assert asking.is_alive()
            running.send_signal(signal.SIGTERM)
            with pytest.raises(ConnectionRefusedError):
                while True:
                    socket.create_connection(address(url)).close()
            client.sendall(small[5:])
            assert client.recv(1000).startswith(b"HTTP/1.1 200 OK")
        out, error = running.communicate(timeout=60)
        asking.join(60)
        assert (running.returncode, error) == (0, "")
        assert answers == [400]
        assert out == "serve  stopped; 2 requests were answered\n"


def test_the_same_signal_again_leaves_at_once(run):
    with process(run) as (running, line), socket.create_connection(address(line.split()[1])) as client:
        # Never sends the body: it is waited for, up to the limit of a request.
        client.sendall(b"POST /v1/models/run:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")
        time.sleep(0.3)
        running.send_signal(signal.SIGINT)
        time.sleep(0.3)
        assert running.poll() is None
        running.send_signal(signal.SIGINT)
        assert running.wait(10) == 130
