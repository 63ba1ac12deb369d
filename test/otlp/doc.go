// Package otlp holds telemetry/ingest against an exporter that nobody of this project wrote, OpenTelemetry's own, and
// against the messages that OpenTelemetry generates from its definitions. It is a module of its own, so that their
// dependencies stay out of the agent's.
package otlp
