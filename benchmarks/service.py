"""Writes docs/serving.md: how to serve an export, and measurements of the service under load and hostile files.

python -m benchmarks.service [--only=parity,predicting,service_load,service_hostile] [--quick]
"""

import subprocess
import sys
from collections.abc import Mapping

from benchmarks import parity, predicting, runner, service_hostile, service_load

BENCHMARKS = runner.by_name(parity, predicting, service_load, service_hostile)

_HEAD = """# Serving an export

Written by `python -m benchmarks.service` from `docs/serving.json`; not edited by hand.

`saved_model/` of a run directory is a folder of numbered versions. An exported model is complete: it takes raw pictures or
picture files and returns labels and calibrated probabilities. There are three ways to use it.

| | for | needs |
|---|---|---|
| TensorFlow Serving | production: several models and versions, GPUs, gRPC | its container |
| `--phase=serve` | a team, a demonstration, a small product: one model, one process | `pip install -e '.[serve]'` |
| `serving.Predictor`, `--phase=predict` | a program, a folder of files | this package, or TensorFlow alone |

The first two answer the same requests, so that a client works with both.

## TensorFlow Serving

```
docker run --rm -p 8501:8501 -e MODEL_NAME=flowers -v "$PWD/runs/flowers/saved_model:/models/flowers" tensorflow/serving
```

A second export replaces the first under the same number. A server that watches for higher numbers needs a copy under one,
`cp -r runs/flowers/saved_model/1 /models/flowers/7`.

## The service

```
python run.py --phase=serve --run_dir=runs/flowers          # or --saved_model=DIR
```

It prints its address, `http://127.0.0.1:8501/`, the model's name (by default the name of the run directory; `--model_name`), its
version and its signatures. At `/` it has a page: drop, choose or paste a picture, and see its label.

![The page of the service](service.png)

```
curl localhost:8501/v1/models/flowers                       # {"model_version_status": [{"version": "1", "state": "AVAILABLE", ...}]}
curl localhost:8501/v1/models/flowers/metadata              # inputs and outputs of the signatures
curl -d '{"instances": [[[[255, 0, 0], [0, 255, 0]]]]}' localhost:8501/v1/models/flowers:predict     # a picture of 1 x 2 pixels
base64 rose.jpg | tr -d '\\n' |
  sed 's/.*/{"signature_name": "serve_bytes", "instances": [{"b64": "&"}]}/' |
  curl --data-binary @- localhost:8501/v1/models/flowers:predict
```

```python
import base64, json, pathlib, urllib.request

rows = [{"b64": base64.b64encode(pathlib.Path(name).read_bytes()).decode()} for name in ("rose.jpg", "tulip.png")]
body = json.dumps({"signature_name": "serve_bytes", "instances": rows}).encode()
with urllib.request.urlopen("http://localhost:8501/v1/models/flowers:predict", body) as answer:
    for row in json.load(answer)["predictions"]:
        print(row["status"], row["label"], row["probability"])
```

| request | answer |
|---|---|
| `POST /v1/models/NAME[/versions/V or /labels/stable]:predict` with `{"instances": [row, ...]}` | `{"predictions": [row, ...]}` |
| the same with `{"inputs": columns}` | `{"outputs": columns}` |
| `GET /v1/models/NAME[/versions/V]`, `.../metadata` | status, signatures |
| `GET /healthz`, `/readyz` | 200; `/readyz` 503 while it stops |
| `GET /metrics` | requests, histograms of latency and of sizes of batches, as Prometheus reads them |

`"signature_name"` is one of:

- `serving_default`: uint8 pictures `[H, W, 3]` or grey `[H, W, 1]`, all pictures of a request of the same size;
- `serve_bytes`: JPEG, PNG, GIF, BMP and WebP files in base64; not TIFF, AVIF and HEIC, which TensorFlow does not decode:
  their `status` says so, and `--phase=predict` reads them. Rows are independent: `status` is `ok`, or says why a file has no
  answer; its label is then empty and its numbers are 0. A request with invalid base64 is refused as a whole, as any malformed
  one;
- `features`: the pooled embedding.

Other SavedModels are served by their own signatures.

Requests that arrive while the model is busy are joined into its next call, up to `--max_batch` rows. SIGTERM and SIGINT close the
port, answer the open requests and exit with 0; the same signal again exits at once, with 143 or 130.

## Limits

| what | limit | answer beyond it |
|---|---|---|
| address | 127.0.0.1; `--host=0.0.0.0` lets others in, **without authentication** | |
| size of a request | `--max_request_mb`, 32; all open requests together eight times that | 413 before it is read; 503 |
| rows of a request | 1024 | 400 |
| rows waiting for the model | 4096 | 503 with `Retry-After` |
| requests a second of one address | `--rate_limit`, off | 429 with `Retry-After` |
| time for a request | 30 s | 408 where its body has not arrived, else 504 |
| pixels of a picture file | 100 million | its row has a `status` |
| JSON that is malformed, ragged, nested too deeply, or has other types and values than the signature | | 400 and a line that says what was expected |

Errors are `{"error": "..."}`, as in TensorFlow Serving; a request that is not HTTP gets a line of text. Two things differ from TensorFlow
Serving, so that every answer is JSON: a number that is not finite is `null`, and bytes that are not UTF-8 are escaped. `:classify` and
`:regress` are answered with 400: the signatures are for `:predict`.

## Not promised

- A test with TensorFlow Serving itself: requests and folders follow its documentation, and are tested by a client written for it.
- Authentication, TLS, or fairness between clients that share an address; behind a proxy, all share the proxy's.
- Safety on the open internet: a connection that sends nothing stays open. Put a proxy in front.
- Speed for pictures as lists of numbers: parsing JSON of 32 MB takes seconds, in a process of its own, one request at a time. Files
  in base64 are a tenth as large and are parsed at once.
- Equality to the bit of two answers for the same picture: batches of another size round differently, by about 1e-7.
- A quiet standard error: the libraries that decode pictures write their complaints about bad ones there.

"""  # noqa: E501


def render(records: Mapping) -> str:
    """Returns the page; a measurement that has not been made is left out."""
    return runner.page(_HEAD, BENCHMARKS, records)


def main() -> None:
    """Measures anew and writes the page; `--quick` measures little and writes nothing."""
    if "--quick" not in sys.argv:
        runner.renew(__doc__, "serving", BENCHMARKS, render)
        return
    for name in BENCHMARKS:
        command = [sys.executable, "-m", f"benchmarks.{name}", *sys.argv[1:]]
        subprocess.run(command, cwd=runner.ROOT, check=True)


if __name__ == "__main__":
    main()
