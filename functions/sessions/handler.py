"""`sessions`: exchanges a bearer token for the HttpOnly cookie that pages use, and ends it."""

from aws_lambda_powertools.event_handler import Response

from functions.sessions import service
from runtime.http import HttpFunction, json_response

app = HttpFunction()
lambda_handler = app.lambda_handler


@app.post("/")
def post_session() -> Response[str]:
    csrf, cookie = service.begin(app.current_event)
    answer = json_response(200, {"csrf": csrf}, service.NOT_CACHED)
    answer.cookies.append(cookie)
    return answer


@app.delete("/")
def delete_session() -> Response[str]:
    answer = json_response(200, {"status": "ended"}, service.NOT_CACHED)
    answer.cookies.append(service.end(app.current_event))
    return answer
