"""How the page is served, and what of it is written down twice."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser

from api.routes.page import read
from tests.integration.conftest import serving
from voxqueue.languages import LANGUAGES
from voxqueue.settings import DatabaseSettings, RedisSettings, S3Settings, Settings, StorageSettings

pytestmark = pytest.mark.integration

_FOLDER = Path(__file__).parents[2] / "api" / "web"
_NOBODY = Settings(
    database=DatabaseSettings(url="postgresql://127.0.0.1:9/none"), redis=RedisSettings(url="redis://127.0.0.1:9/0")
)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An API without a database or Redis, which asks for keys: the page must be there all the same."""
    with serving(_NOBODY.model_copy(update={"storage": StorageSettings(dir=tmp_path_factory.mktemp("blobs"))})) as url:
        yield url


def files_of(html: str) -> list[str]:
    return re.findall(r'(?:href|src)="(web/[^"]+)"', html)


def test_strangers_get_the_page_and_all_that_it_names(url: str) -> None:
    answer = httpx.get(f"{url}/")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "script-src 'self'" in answer.headers["content-security-policy"]
    assert "unsafe" not in answer.headers["content-security-policy"]
    names = files_of(answer.text)
    assert {Path(name).suffix for name in names} == {".css", ".js", ".svg"}
    for name in names:
        file = httpx.get(f"{url}/{name}")
        assert file.status_code == 200, name
        assert "immutable" in file.headers["cache-control"]


def test_the_whole_page_is_small(url: str) -> None:
    """As a browser gets it, and even for clients that take nothing packed."""
    with httpx.Client(base_url=url, headers={"Accept-Encoding": "gzip"}) as browser:
        answers = [browser.get("/")]
        answers += [browser.get(name) for name in set(files_of(answers[0].text))]
    assert all(answer.headers["content-encoding"] == "gzip" for answer in answers)
    assert sum(answer.num_bytes_downloaded for answer in answers) < 75_000
    assert sum(len(answer.content) for answer in answers) < 150_000


def test_without_scripts_it_says_so_on_the_loading_screen(url: str) -> None:
    """That screen covers all else, and only scripts take it away."""
    loading = httpx.get(f"{url}/").text.split('<section id="loading"')[1].split("</section>")[0]
    assert "<noscript>" in loading


def test_a_page_that_has_not_changed_is_not_sent_again(url: str) -> None:
    first = httpx.get(f"{url}/")
    again = httpx.get(f"{url}/", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_the_version_changes_with_every_file(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("{{web}}")
    (tmp_path / "a.js").write_text("1")
    before = read(tmp_path)
    (tmp_path / "a.js").write_text("2")
    assert read(tmp_path).version != before.version
    assert before.version in before.html.body.decode()


@pytest.mark.parametrize("path", ["web/0000/js/main.js", "web/{version}/js/none.js", "web/{version}/../app.py"])
def test_other_versions_and_other_files_are_not_found(url: str, path: str) -> None:
    version = files_of(httpx.get(f"{url}/").text)[0].split("/")[1]
    answer = httpx.get(f"{url}/{path.format(version=version)}", headers={"Authorization": "Bearer none"})
    assert answer.status_code in (401, 404)
    assert answer.headers["content-type"] == "application/problem+json"


def test_the_page_may_fetch_speech_from_the_object_store(tmp_path: Path) -> None:
    s3 = S3Settings(bucket="notes", endpoint_url="https://s3.example.com")
    with serving(_NOBODY.model_copy(update={"storage": StorageSettings(dir=tmp_path), "s3": s3})) as url:
        policy = httpx.get(f"{url}/").headers["content-security-policy"]
    assert "connect-src 'self' https://s3.example.com https://*.s3.example.com;" in policy


def test_the_page_offers_the_languages_that_the_api_takes() -> None:
    text = (_FOLDER / "js" / "languages.js").read_text("utf-8")
    assert dict(re.findall(r'(\w+): "([^"]+)"', text)) == LANGUAGES


def test_an_event_stream_is_read_however_it_is_cut(browser: Browser, url: str) -> None:
    """A network cuts anywhere, also between a carriage return and its line feed."""
    stream = 'event: job\r\nid: 1\r\ndata: {"a":\r\ndata: 1}\r\n\r\n: heartbeat\n\ndata: {"a": 2}\n\n'
    main = next(name for name in files_of(httpx.get(f"{url}/").text) if name.endswith("streams.js"))
    page = browser.new_page()
    page.goto(f"{url}/")
    for length in (1, 2, 7, len(stream)):
        parts = [stream[start : start + length] for start in range(0, len(stream), length)]
        heard = page.evaluate(
            """async ([address, parts]) => {
                const { EventParser } = await import(address);
                const heard = [];
                const parser = new EventParser((event) => heard.push(event));
                parts.forEach((part) => parser.feed(part));
                return JSON.stringify(heard);
            }""",
            [f"{url}/{main}", parts],
        )
        assert json.loads(heard) == [{"a": 1}, {"a": 2}], length
    page.close()
