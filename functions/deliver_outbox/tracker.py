"""GitHub's issues, as far as errors need them: found by their label, created, reopened, commented, heard of when closed.

https://docs.github.com/en/rest/issues/issues
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import requests

TIMEOUT_SECONDS = 5
LONGEST_WAIT_SECONDS = 3600.0
TOO_MANY = frozenset({403, 429})
# Of every issue that is made here, beside the one that names its error.
COMMON_LABEL = "holdfast-error"


class TrackerFailed(Exception):
    """The tracker did not do it, or nobody knows."""


class TrackerBusy(TrackerFailed):
    """The tracker has had enough for now, and says until when."""

    def __init__(self, wait_seconds: float) -> None:
        super().__init__("the tracker takes no more for now")
        self.wait_seconds = min(max(wait_seconds, 1.0), LONGEST_WAIT_SECONDS)


@dataclass(frozen=True)
class Issue:
    """An issue as it stands there."""

    number: int
    url: str
    is_open: bool


class Tracker:
    """The issues of one repository."""

    def __init__(self, api_url: str, repository: str, token: str | None) -> None:
        self._issues = f"{api_url.rstrip('/')}/repos/{repository}/issues"
        self._headers = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"

    def find(self, label: str) -> Issue | None:
        """The issue with this label: an open one, or else the newest."""
        found = [_issue(each) for each in self._listed({"labels": label, "state": "all"})]
        return max(found, key=lambda issue: (issue.is_open, issue.number), default=None)

    def create(self, title: str, body: str, label: str) -> Issue:
        """A new issue; its labels are made with it."""
        fields = {"title": title, "body": body, "labels": [COMMON_LABEL, label]}
        return _issue(self._asked("POST", "", json=fields))

    def reopen(self, issue: Issue) -> None:
        """Opens a closed issue again."""
        self._asked("PATCH", f"/{issue.number}", json={"state": "open", "state_reason": "reopened"})

    def comment(self, issue: Issue, body: str) -> None:
        """Says something below an issue."""
        self._asked("POST", f"/{issue.number}/comments", json={"body": body})

    def closed(self) -> list[dict[str, Any]]:
        """The hundred of ours that were closed, or changed since, last: `{"number", "closed_at"}` each."""
        listed = self._listed(
            {"labels": COMMON_LABEL, "state": "closed", "sort": "updated", "direction": "desc"}
        )
        return [
            {"number": each["number"], "closed_at": each["closed_at"]}
            for each in listed
            if each.get("state") == "closed" and each.get("closed_at")
        ]

    def _listed(self, query: Mapping[str, str]) -> list[dict[str, Any]]:
        listed = self._asked("GET", "", params={**query, "per_page": "100"})
        # To GitHub a pull request is an issue, too.
        return [each for each in listed if "pull_request" not in each]

    def _asked(self, method: str, path: str, **sent: Any) -> Any:
        try:
            answer = requests.request(
                method,
                self._issues + path,
                headers=self._headers,
                timeout=TIMEOUT_SECONDS,
                allow_redirects=False,
                **sent,
            )
            if answer.status_code in TOO_MANY and (wait := _wait(answer.headers)) is not None:
                raise TrackerBusy(wait)
            if not answer.ok or answer.is_redirect:
                raise TrackerFailed(f"the tracker answered {answer.status_code}")
            return answer.json()
        except requests.RequestException as failure:
            raise TrackerFailed(f"the tracker did not answer: {type(failure).__name__}") from failure


def _wait(headers: Mapping[str, str]) -> float | None:
    """Seconds until the tracker takes more, where its limits are why it refused.

    https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api
    """
    if (after := headers.get("retry-after", "")).isdigit():
        return float(after)
    if headers.get("x-ratelimit-remaining") == "0" and (at := headers.get("x-ratelimit-reset", "")).isdigit():
        return float(at) - time.time()
    return None


def _issue(answer: Mapping[str, Any]) -> Issue:
    return Issue(answer["number"], answer["html_url"], answer["state"] == "open")
