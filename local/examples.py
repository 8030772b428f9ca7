"""A command line that works, for each function URL: what `make up` prints."""

import shlex

import psycopg

JSON = "-H 'Content-Type: application/json'"
A_FREE_SLOT = """
    SELECT s.id FROM slots s
    WHERE s.starts_at > now() AND NOT s.is_legacy AND s.held_bookings + s.sold_bookings < s.max_bookings
      AND s.held_units + s.sold_units < s.max_units
    ORDER BY s.max_units DESC, s.starts_at LIMIT 1
"""


def free_slot(database_url: str) -> str:
    """The id of a slot that can be held now, the roomiest first."""
    with psycopg.connect(database_url) as conn:
        row = conn.execute(A_FREE_SLOT).fetchone()
    return str(row[0]) if row else "SLOT_ID"


def examples(
    functions: dict[str, str], slot_id: str, webhook_secret: str, admin_token: str
) -> dict[str, str]:
    """For each function's URL a shell command; those that need another one's answer ask for it first."""
    hold = f"""{{"items":[{{"slot_id":"{slot_id}","units":1}}],"customer":{{"email":"ada@example.com","name":"Ada"}}}}"""
    take_hold = f"curl -s {JSON} -d '{hold}' {functions.get('reservations', '')}/reservations"
    pick = r"""sed -E 's/%s": ?"([^"]*)".*/\1/'"""
    event = """{"id":"evt_example","object":"event","api_version":"2025-01-01","created":1,"livemode":false,\
"type":"customer.created","data":{"object":{"id":"cus_example","object":"customer"}}}"""
    known = {
        "reservations": "curl -s {url}/offerings",
        "create-payment-intent": (
            f'hold=$({take_hold}); curl -s {JSON} -H "X-Reservation-Token: $(echo "$hold" | {pick % '.*"token'})" '
            f'-d "{{\\"reservation_id\\":\\"$(echo "$hold" | {pick % '[^"]*"id'})\\"}}" {{url}}/'
        ),
        "stripe-webhook": (
            f"event={shlex.quote(event)}; now=$(date +%s); "
            f"sign=$(printf '%s.%s' \"$now\" \"$event\" | openssl dgst -sha256 -hmac {webhook_secret} | sed 's/.* //'); "
            'curl -s -H "Stripe-Signature: t=$now,v1=$sign" -d "$event" {url}/'
        ),
        "log-error": f'curl -s {JSON} -d \'{{"message":"an example","severity":"info"}}\' {{url}}/',
        "health": "curl -s {url}/ready",
        "bookings": f"curl -s -H 'Authorization: Bearer {admin_token}' {{url}}/bookings",
        "sessions": f"curl -si -X POST -H 'Authorization: Bearer {admin_token}' {{url}}/",
        "admin": f"curl -s -H 'Authorization: Bearer {admin_token}' {{url}}/stats",
    }
    return {name: known.get(name, "curl -s {url}/").replace("{url}", url) for name, url in functions.items()}
