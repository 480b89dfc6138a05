"""MQTT: the connection to the broker, what is announced on it and what is answered.

`client` has `Mqtt`, which the app uses, and `probe` for checks; `settings` the configuration's section,
`answers` the hooks, `requests` the records, `embedded` a broker for demos. Nothing is imported here: the
configuration needs the settings alone. `docs/mqtt.md` and `docs/asyncapi.yaml` describe what others see.
"""
