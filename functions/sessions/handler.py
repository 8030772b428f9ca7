"""`sessions`: exchanges a bearer token for the HttpOnly cookie that pages use, and ends it."""

from typing import TYPE_CHECKING

from functions.sessions import service
from runtime.http import HttpFunction, json_response

if TYPE_CHECKING:
    from functions.sessions.answers import Ended, Session
    from runtime.answers import Answer

app = HttpFunction()
lambda_handler = app.lambda_handler


@app.post("/")
def post_session() -> "Answer[Session]":
    csrf, cookie = service.begin(app.current_event)
    answer = json_response(200, {"csrf": csrf}, service.NOT_CACHED)
    answer.cookies.append(cookie)
    return answer


@app.delete("/")
def delete_session() -> "Answer[Ended]":
    answer = json_response(200, {"status": "ended"}, service.NOT_CACHED)
    answer.cookies.append(service.end(app.current_event))
    return answer
