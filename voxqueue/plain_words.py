"""What pydantic says of a wrong value, in words for whoever sent or set it: what is expected, and nothing of types.

One wording for the wire, for settings and for the command line.
"""

from collections.abc import Mapping
from typing import Any

_NUMBER, _WHOLE, _TRUTH = "must be a number", "must be a whole number", "must be true or false"
_ID = "must be an id, as the API gives them out"
_EXPECTED = {
    "bool_parsing": _TRUTH,
    "bool_type": _TRUTH,
    "finite_number": _NUMBER,
    "float_parsing": _NUMBER,
    "float_type": _NUMBER,
    "int_from_float": _WHOLE,
    "int_parsing": _WHOLE,
    "int_parsing_size": "must be a smaller number",
    "int_type": _WHOLE,
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "string_pattern_mismatch": "must match {pattern}",
    "uuid_parsing": _ID,
    "uuid_type": _ID,
    "list_type": "must be a JSON array",
    "missing": "is required",
    "extra_forbidden": "is not a field that we know",
    "model_attributes_type": "must be a JSON object",
    "dict_type": "must be a JSON object",
    "string_type": "must be a text",
    "string_too_long": "has more than the {max_length:,} characters allowed",
    "string_too_short": "has fewer than {min_length:,} characters",
    "string_unicode": "holds characters that are not valid Unicode",
}


def what_is_expected(error: Mapping[str, Any]) -> str:
    """Of one of the errors that pydantic lists; its own message where there is no better one."""
    context: Mapping[str, Any] = error.get("ctx") or {}
    if error["type"] == "value_error":  # raised by ourselves
        return str(context["error"])
    words = _EXPECTED.get(error["type"])
    return str(error["msg"]) if words is None else words.format_map(context)
