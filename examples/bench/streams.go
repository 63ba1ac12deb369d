package main

// What an experiment asks of the agent's stream, as lines of its configuration under telemetry:. "" is the default: each
// reading is on the medium before it is accepted, and is a message of its own.
const (
	// withinASecond lets a reading be in memory for a second at most, so that many share one write.
	withinASecond = "  streams:\n    press:\n      within: 1s\n"
	// inBatches packs twenty readings into a message of JSON, the others in other ways.
	inBatches = "  streams:\n    press:\n      batch:\n        bytes: 5400\n        age: 1s\n"
	inCBOR    = inBatches + "        format: cbor\n"
	inGzip    = inBatches + "        gzip: true\n"
)
