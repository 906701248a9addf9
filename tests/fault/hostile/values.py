"""Values that nobody sends in good faith, by the place where they are sent. `WRONG`: the description forbids them."""

from typing import Any

from tests.fault.hostile.shots import CANARY
from tests.recordings import random_bytes

HOSTS = (
    b"[::1", b"[", b"]", b"[]", b"[v1.x]", b"", b"a b", b"localhost:99999999", b"localhost:x", b"local\xffhost",
    b"a@b", b"localhost/v1/x?y#z", b"localhost\\x", b"a" * 60_000, b"127.0.0.1.evil.example", b"0x7f.1", b"%00",
    b"\xe2\x84\xa1", b"localhost, localhost",
)  # fmt: skip
ORIGINS = (
    b"null", b"http://[", b"http://[::1", b"http://localhost:x", b"\xff", b"//", b"http://[v1.x]", b"a" * 60_000,
)  # fmt: skip
TOKENS = (
    b"", b"Bearer", b"Bearer ", b"bearer vq_", b"Basic eDp5", b"Bearer vq_aaaaaaaaaaaa_" + b"b" * 32,
    b"Bearer \xff\xfe", b"Bearer vq_aaaaaaaaaaaa_" + b"b" * 50_000, b"Bearer vq_%00%00%00%00_",
    b"Bearer " + CANARY.encode(), b"\t", b"Bearer vq_\xc3\xa1aaaaaaaaaaa_" + b"b" * 32,
)  # fmt: skip
ODDITIES: tuple[tuple[bytes, bytes], ...] = (
    (b"Accept", b"*/*;q=nan"), (b"Accept-Encoding", b"gzip;q=-1, \xff"), (b"Cookie", b'=;=;";' * 9_000),
    (b"X-Forwarded-For", b"' OR 1=1 --"), (b"X-Forwarded-Proto", b"gopher"), (b"X-Forwarded-Host", b"["),
    (b"Forwarded", b"for=[::1"), (b"X-HTTP-Method-Override", b"DELETE"),
    (b"Connection", b"close, keep-alive, upgrade"), (b"Content-Encoding", b"gzip"), (b"Expect", b"200-maybe"),
    (b"TE", b"trailers, \xff"), (b"Upgrade", b"h2c"), (b"Content-Type", b"\xff/\xff; boundary=\xff"),
    (b"Content-Type", b";;;==\"'"), (b"Content-Type", b"a" * 60_000), (b"Date", b"0"), (b"Max-Forwards", b"-1"),
    (b"Trailer", b"Content-Length"), (b"X", CANARY.encode() * 4_000), (b"x" * 50_000, b"y"),
    (b"Access-Control-Request-Method", b"\xff"), (b"traceparent", b"00-0-0-0"),
    (b"User-Agent", f"{CANARY} ${{jndi:ldap://127.0.0.1/a}} %s%n \x1b[2J".encode()), (b"Referer", b"http://["),
)  # fmt: skip
ABSURD = (
    b"", b" ", b",", b";", b"=", b"\"", b"*", b"\xff\xfe", b"9" * 5_000, b"-1", b"0", b"%00", b"\xe2\x80\xae", b"null",
    b"W/\"", b"\"a\"," * 5_000, b" " * 50_000 + b"x", b"wait=", b"wait=999999999", b"wait=\"1", b"wait=1," * 5_000,
    b"wait=" + b"9" * 5_000, b"bytes=", b"bytes=-", b"bytes=--1", b"bytes=-0", b"bytes=5-1", b"bytes=0-0," * 5_000,
    b"bytes=" + b"0-1,2-3," * 2_000 + b"4-5", b"bytes=-" + b"9" * 5_000, b"bytes=0-" + b"9" * 5_000,
    b"bytes=99999999999999999999-", b"bytes=0-9,0-9,0-9", b"BYTES=0-1", b"bytes = 0-1", b"lines=1-2", b"bytes=1-\xb2",
    b"bytes=\xb2-", b"bytes=0-18446744073709551616", CANARY.encode(),
)  # fmt: skip
NOT_JSON = (
    b"", b"{", b"}", b"nul", b"{'text': 'a'}", b'{"text": "a",}', b'{"text": "a"} {"text": "b"}',
    b'{"text": "a" /* b */}', b'{"text": "\xff\xfe"}', b'{"text": "\xed\xa0\x80"}', b'{"text": "\xc0\xaf"}',
    b'{"text": "\x00"}', b'{"text": "a\nb"}', b"\xef\xbb\xbf", b"[" * 100_000, b'{"a":' * 30_000, b'{"text": "\\u12"}',
    b'{"text": "\\x41"}', b"1" * 50_000, b'{"text"}', b"-", b"0" * 200_000, b"\x1f\x8b\x08\x00" + bytes(500),
    b"text=a&kind=reply", b'{text: "a"}', b"[[],", b'"\\ud800"',
)  # fmt: skip
WRONG_TEXTS: tuple[dict[str, Any], ...] = (
    {}, {"text": None}, {"text": 5}, {"text": ["a"]}, {"text": {"a": 1}}, {"text": True}, {"text": "a\0b"},
    {"text": "\ud800"}, {"text": "\u2003\u00a0"}, {"text": "x" * 10_001}, {"text": "𝕏" * 20_000},
    {"text": "a", "kind": "voice_note"}, {"text": "a", "": 1}, {"text": "a", "kind": ["reply"]},
    {"text": "a", "kind": None}, {"text": "a", "id": "x"}, {"text": "a", "tenant": "other"},
    {"text": "a", "priority": 0}, {"text": "a", "priority": "HIGH"}, {"text": "a", "metadata": None},
    {"text": "a", "metadata": "{}"}, {"text": "a", "metadata": {"a": "\0"}}, {"text": "a", "metadata": {"\0": 1}},
    {"text": "a", "metadata": {"\udfff": 1}}, {"text": "a", "metadata": {"a": "x" * 5_000}},
    {"text": "a", "metadata": [["a", 1]]}, {"text": "a", "language": "\0"}, {"text": "a", "language": "en-" * 3_000},
    {"text": "a", "language": 5}, {"text": "a", "language": "klingon"}, {"text": "a", "voice": "\0"},
    {"text": "a", "instructions": "x" * 5_000}, {"text": "a", "instructions": {"a": 1}},
    {"text": "a", "audio_format": "../ogg"}, {"text": "a", "webhook_events": []},
    {"text": "a", "webhook_events": ["job.failed"]}, {"text": "a", "reply_schema": {}},
    {"text": "a", **{str(n): 0 for n in range(20_000)}}, {"text": "a", "__proto__": {}}, {"text": "a", "\ud800": 1},
)  # fmt: skip
ODD_METADATA: tuple[Any, ...] = (
    {"__proto__": {"a": 1}}, {"constructor": {"prototype": 1}}, {"a": 1e308}, {"a": -0.0}, {"a": 10**4_000},
    {"a": "\uffff\U0010ffff"}, {"": ""}, {"a": "\u202e\u2066"}, {"a": "é" * 2_000}, {"a": [[[[[[[[1]]]]]]]]},
    {str(n): n for n in range(300)}, {"a": 1e-320},
)  # fmt: skip
WRONG_SCHEMAS: tuple[Any, ...] = (
    [], "{}", 5, {"type": 5}, {"type": []}, {"multipleOf": 0}, {"minLength": -1}, {"required": "a"},
    {"properties": []}, {"enum": {}}, {"$ref": "http://127.0.0.1/x"}, {"$ref": "file:///etc/passwd"},
    {"allOf": [{"$dynamicRef": "x"}]}, {"pattern": "(a+)+$"}, {"properties": {"a": {"pattern": "["}}},
    {"patternProperties": {"(": {}}}, {"title": "\0"}, {"title": "x" * 9_000}, {"title": "\ud800"},
    {"not": {"not": {"minItems": -5}}}, {"additionalProperties": "yes"}, {"items": [{}]}, {"maximum": "9"},
    {"$defs": {"a": 5}},
)  # fmt: skip
ODD_SCHEMAS: tuple[Any, ...] = (
    {"$ref": "#"}, {"allOf": [{"$ref": "#/nowhere"}]}, {"$id": "http://["}, {"$schema": "http://127.0.0.1/"},
    {"$ref": "#/%00"}, {"enum": []}, {"anyOf": [{"const": n} for n in range(400)]}, {"$anchor": "a"},
    {"format": "regex"}, {"$vocabulary": {}}, {"unevaluatedItems": {"$ref": "#"}}, {"type": ["null", "string"]},
    {"minLength": 10**30}, {"multipleOf": 1e-300}, {"required": ["a"] * 1_000},
    {"dependentSchemas": {"a": {"$ref": "#"}}},
)  # fmt: skip
WRONG_ADDRESSES = (
    "", "x", "/", "https:", "https://", "https:///x", "http://example.com", "ftp://example.com/",
    "javascript:alert(1)", "https://[", "https://[::1", "https://[v1.x]/", "https://127.0.0.1/", "https://2130706433/",
    "https://0x7f.1/", "https://[::ffff:127.0.0.1]/", "https://[64:ff9b::7f00:1]/", "https://169.254.169.254/",
    "https://localhost/", "https://user:pw@example.com/", "https://example.com:22/",
    "https://example.com:99999999999/", "https://example.com:x/", "https://exa mple.com/", "https://example.com\n/",
    "https://example.com/\0", "https://\ud800.example/", "https://" + "a." * 200, "https://" + "a" * 70 + ".example/",
    "https://xn--a/", "https://①②⑦.0.0.1/", "https://example.com%00.evil/", "https://.example/", "https://-/", "\0",
    "https://example.com/" + "a" * 60_000, "https://[fe80::1%25eth0]/", "https://example.com\\@127.0.0.1/",
    "//example.com/", "https://例え.テスト:0/",
)  # fmt: skip
WRONG_ENDPOINTS: tuple[dict[str, Any], ...] = (
    {}, {"url": None}, {"url": 5}, {"url": ["https://example.com"]}, {"url": "https://example.com", "events": []},
    {"url": "https://example.com", "events": None}, {"url": "https://example.com", "events": ["x"]},
    {"url": "https://example.com", "events": "job.failed"}, {"url": "https://example.com", "x": CANARY},
    {"url": "https://example.com", "description": "\0"}, {"url": "https://example.com", "description": "x" * 501},
    {"url": "https://example.com", "events": [None]}, {"url": "https://example.com", "description": "\ud800"},
    {"url": "https://example.com", "events": [["job.failed"]]}, {"url": "https://example.com", "secret": "x"},
)  # fmt: skip
WRONG_CHANGES: tuple[dict[str, Any], ...] = (
    {"url": None}, {"events": None}, {"events": []}, {"enabled": None}, {"enabled": "yes"}, {"enabled": 1},
    {"enabled": "\0"}, {"id": "x"}, {"description": 5}, {"description": "\0"}, {"description": "\ud800"},
    {"secret": CANARY}, {"url": "https://127.0.0.1/"}, {"events": ["job.failed", 5]},
)  # fmt: skip
CHARSETS = (
    "utf-7", "utf-16", "utf-32", "idna", "punycode", "undefined", "zlib", "rot13", "base64", "unicode_escape", "cp037",
    "x" * 9_000, '"', "hex", "raw_unicode_escape", "mbcs", "utf-8-sig", "../utf_8", "\xff", "",
)  # fmt: skip
NAMES = (
    b"../../etc/passwd", b"a\\b\\c", b"\x00.ogg", b"\xff\xfe", b"\xed\xa0\x80", b"a" * 50_000, b"\xe2\x80\xaegpj.exe",
    b"%00", b"$(id)", b"", b".", b"..", b"'; DROP TABLE jobs; --", CANARY.encode(), b"<img src=x>", b"\x1b[2J", b"CON",
)  # fmt: skip
NO_HTTP = (
    b"\r\n" * 5_000, bytes(64_000), b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + random_bytes(500, 1),
    b"SSH-2.0-OpenSSH_9.6\r\n", b"*1\r\n$4\r\nPING\r\n", b"GET /v1/jobs\r\n\r\n", b"GET /v1/jobs HTTP/0.9\r\n\r\n",
    b"GET /v1/jobs HTTP/3.7\r\n\r\n", b"GET /v1/jobs HTTP/1.0\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"BREW /v1/jobs HTTP/1.1\r\nHost: localhost\r\n\r\n", b"get /v1/jobs HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"A" * 60_000, b"GET " + b"/a" * 40_000, b"GET /v1/jobs HTTP/1.1\r\n\r\n",
    b"GET /v1/jobs HTTP/1.1\r\nHost: localhost\r\nX\r\n\r\n", b"GET /v1/jobs HTTP/1.1\r\nHost : localhost\r\n\r\n",
    b"GET /v1/jobs HTTP/1.1\r\nHost: localhost\r\n folded: x\r\n\r\n", b"GET /v1/jobs HTTP/1.1\r\n: x\r\n\r\n",
    b"GET /v1/jobs HTTP/1.1\r\nHost: a\0b\r\n\r\n",
    b"GET /v1/jobs HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
    b"GET /\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n", b"GET / HTTP/1.1\nHost: localhost\n\n",
    b"GET /v1/jobs HTTP/1.1\r\nHost: localhost\r\nX: \x7f\x01\r\n\r\n",
    b"GET  /v1/jobs HTTP/1.1\r\nHost: localhost\r\n\r\n", b"", b"G", random_bytes(60_000, 2),
    b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 3_000_000,
    b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: a\r\n" * 200_000, b"GET /" + b"a" * 3_000_000,
    b"GET /v1/jobs\0 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"POST /v1/texts HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n",
)  # fmt: skip
PATHS = (
    "/%2e%2e/%2e%2e/etc/passwd", "/web/%2e%2e/app.py", "/web/x/..%2f..%2fapp.py", "/web/../../pyproject.toml",
    "//v1/jobs", "/v1//jobs", "/v1/jobs/", "/v1/jobs/%00", "/v1/jobs/%ff%fe", "/v1/jobs/%ed%a0%80",
    "/%", "/%zz", "/v1/jobs/%0d%0aSet-Cookie:%20x=1", "/v1/jobs/" + "a" * 50_000,
    "/" + "../" * 10_000, "/v1/jobs;a=b", "/v1/jobs#frag", "/\\..\\..\\x", "/v1/jobs/%u0000", "/docs?x=%3Cscript%3E",
    "/docs/..%2f", "/openapi.json/", "/V1/JOBS", "/v1/jobs/%2525", "http://evil.example/v1/jobs", "http://[/v1/jobs",
    "http://[::1/v1/jobs", "//[/x", "/v1/jobs/ÿ", "/web/%00/%00", "/?" + "&" * 30_000,
    "/v1/webhooks/endpoints/%00",
)  # fmt: skip
QUERIES = (
    "limit=%00", "limit=" + "9" * 5_000, "limit=1e2", "limit=-1", "limit=0x10", "limit=", "limit=NaN", "limit=%D9%A3x",
    "cursor=", "cursor=%ff", "cursor=%ed%a0%80", "cursor=" + "A" * 22, "cursor=" + "_" * 43, "cursor=f" + "_" * 42,
    "cursor=" + "A" * 43, "cursor=" + "=" * 50, "cursor=" + "A" * 30_000, "cursor=%C3%A9", "state=queued%00",
    "state=" + "x" * 30_000, "kind=%ff", "endpoint=%00", "job=" + "0" * 32, "job=%7B" + "0" * 32 + "%7D",
    "&".join(["limit=5"] * 3_000), "%ff=%ff", "a" * 30_000, "=&=&=;;", "limit[]=1", "limit[$gt]=1", "state=queued'--",
)  # fmt: skip
BOUNDARIES = (
    "", "; boundary=", '; boundary="', "; boundary=" + "x" * 50_000, "; boundary=\xff", "; boundary=a; boundary=x",
    "; boundary*=x",
)  # fmt: skip
IN_A_CHARSET = (b"+2AA-", b"xn--a-ecp.ru" * 300, b"\\ud800\\x00", b"\xff\xfe" + bytes(20))
CHUNKS = (
    b"zz\r\n", b"-1\r\n", b"ffffffffffffffffff\r\n", b"5;" + b"a" * 60_000 + b"\r\n", b"5\n", b"\r\n\r\n",
    b"5\r\nabcdefgh\r\n",
)  # fmt: skip
LENGTHS = ("-1", "+5", "0x10", "1e3", "5, 5", "9" * 30, "\u0665", "", "5 5")
CODINGS = ("chunked, chunked", "xchunked", "gzip, chunked", "identity", "chunked\x0b")
