"""The issues of a GitHub, as far as a tracker of errors asks for them: created, listed by label, closed, reopened, commented.

https://docs.github.com/en/rest/issues/issues
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

type Reply = tuple[int, Any]

LONGEST_LABEL = 50
LONGEST_TITLE = 256
LONGEST_BODY = 65_536
PAGE = 30
LARGEST_PAGE = 100


class GitHub:
    """Issues of every repository that is named; the labels of new ones are made on the way, as for whoever may push."""

    def __init__(self, url: str = "http://github.invalid") -> None:
        """`url`: what addresses in answers begin with."""
        self.url = url
        self.issues: dict[str, list[dict[str, Any]]] = {}

    def answer(self, method: str, path: str, query: Mapping[str, str], fields: Mapping[str, Any]) -> Reply:
        """Status and JSON of the answer to one request; `fields` is its body."""
        if method == "GET" and path == "/search/issues":
            return self._search(query)
        found = re.fullmatch(r"/repos/([^/]+/[^/]+)/issues(?:/(\d+)(?:/(comments))?)?/?", path)
        if not found:
            return 404, {"message": "Not Found"}
        repository, number, comments = found.groups()
        issues = self.issues.setdefault(repository, [])
        if number is None:
            if method == "POST":
                return self._create(repository, issues, fields)
            return (200, _listed(issues, query)) if method == "GET" else (404, {"message": "Not Found"})
        if not 1 <= int(number) <= len(issues):
            return 404, {"message": "Not Found"}
        issue = issues[int(number) - 1]
        if comments:
            return _commented(issue, method, fields)
        return self._changed(issue, fields) if method == "PATCH" else (200, _shown(issue))

    def _create(self, repository: str, issues: list[dict[str, Any]], fields: Mapping[str, Any]) -> Reply:
        if wrong := _wrong(fields) or ("title" if not fields.get("title") else None):
            return _unprocessable(wrong)
        number, now = len(issues) + 1, _now()
        issue = {
            "number": number,
            "title": fields["title"],
            "body": fields.get("body"),
            "labels": list(fields.get("labels", [])),
            "state": "open",
            "state_reason": None,
            "created_at": now,
            "updated_at": now,
            "closed_at": None,
            "html_url": f"{self.url}/{repository}/issues/{number}",
            "url": f"{self.url}/repos/{repository}/issues/{number}",
            "comments": [],
        }
        issues.append(issue)
        return 201, _shown(issue)

    def _changed(self, issue: dict[str, Any], fields: Mapping[str, Any]) -> Reply:
        state = fields.get("state", issue["state"])
        if wrong := _wrong(fields) or ("state" if state not in ("open", "closed") else None):
            return _unprocessable(wrong)
        if state != issue["state"]:
            issue["closed_at"] = _now() if state == "closed" else None
            issue["state_reason"] = "completed" if state == "closed" else "reopened"
        changed = {
            name: fields[name] for name in ("title", "body", "labels", "state_reason") if name in fields
        }
        issue.update(changed, state=state, updated_at=_now())
        return 200, _shown(issue)

    def _search(self, query: Mapping[str, str]) -> Reply:
        """As https://docs.github.com/en/search-github/searching-on-github/searching-issues-and-pull-requests says."""
        terms = re.findall(r'(\w+):(?:"([^"]*)"|(\S+))', query.get("q", ""))
        wanted = [(name, quoted or plain) for name, quoted, plain in terms]
        repository = dict(wanted).get("repo", "")
        labels = ",".join(value for name, value in wanted if name == "label")
        state = next((v for n, v in wanted if n in ("state", "is") and v in ("open", "closed")), "all")
        found = _listed(self.issues.get(repository, []), {**query, "labels": labels, "state": state})
        return 200, {"total_count": len(found), "incomplete_results": False, "items": found}


def _listed(issues: list[dict[str, Any]], query: Mapping[str, str]) -> list[dict[str, Any]]:
    labels = {label for label in query.get("labels", "").split(",") if label}
    state = query.get("state", "open")
    found = [
        issue
        for issue in issues
        if labels <= set(issue["labels"])
        and state in ("all", issue["state"])
        and issue["updated_at"] >= query.get("since", "")
    ]
    by = {"updated": "updated_at", "created": "created_at"}.get(query.get("sort", ""), "created_at")
    found.sort(
        key=lambda issue: (issue[by], issue["number"]), reverse=query.get("direction", "desc") == "desc"
    )
    size = min(int(query.get("per_page", PAGE)), LARGEST_PAGE)
    start = (int(query.get("page", 1)) - 1) * size
    return [_shown(issue) for issue in found[start : start + size]]


def _commented(issue: dict[str, Any], method: str, fields: Mapping[str, Any]) -> Reply:
    comments: list[dict[str, Any]] = issue["comments"]
    if method != "POST":
        return 200, comments
    if not fields.get("body") or _wrong(fields):
        return _unprocessable("body")
    comments.append({"id": len(comments) + 1, "body": fields["body"], "created_at": _now()})
    issue["updated_at"] = _now()
    return 201, comments[-1]


def _shown(issue: Mapping[str, Any]) -> dict[str, Any]:
    labels = [{"name": label} for label in issue["labels"]]
    return {**issue, "labels": labels, "comments": len(issue["comments"])}


def _wrong(fields: Mapping[str, Any]) -> str | None:
    """The first field that GitHub would not take."""
    longest = {"title": LONGEST_TITLE, "body": LONGEST_BODY}
    for name, length in longest.items():
        if len(fields.get(name) or "") > length:
            return name
    return "labels" if any(len(label) > LONGEST_LABEL for label in fields.get("labels", [])) else None


def _unprocessable(field: str) -> Reply:
    errors = [{"resource": "Issue", "code": "invalid", "field": field}]
    return 422, {"message": "Validation Failed", "errors": errors}


def _now() -> str:
    """Whole seconds, as GitHub tells time."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
