package remote

import (
	"encoding/json"
	"errors"
	"io/fs"
)

const file = "desired.json"

// changes are what the twin has desired at some version, under our key.
type changes struct {
	Version int64          `json:"version"`
	Set     map[string]any `json:"set"`
}

// kept is the file. A power cut leaves it as it was before a step or after it: on trial, then good or refused. What is
// found on trial is tried again, at most three times.
type kept struct {
	Good    changes  `json:"good"`              // the agent has lived with them
	Trial   *changes `json:"trial,omitempty"`   // it is finding out
	Lives   int      `json:"lives,omitempty"`   // that have begun with those on trial
	Refused *changes `json:"refused,omitempty"` // the newest, where they are not good
	Errors  []string `json:"errors,omitempty"`  // why
	Deadly  bool     `json:"deadly,omitempty"`  // the agent did not survive them
}

// load reads the file. One that is damaged is set aside: the twin has it all.
func (d *desired) load() {
	if d.config.Files == nil {
		return
	}
	b, err := d.config.Files.Read(file)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err == nil {
		if err = json.Unmarshal(b, &d.kept); err != nil {
			d.kept = kept{}
			err = errors.Join(err, d.config.Files.Write(file+".damaged", b))
		}
	}
	if err != nil {
		d.config.Log.Error("settings from the twin are unknown until it is read", "err", err)
	}
}

// save keeps what is known. Where it cannot, the agent goes on: the twin will be read again.
func (d *desired) save() {
	if d.config.Files == nil {
		return
	}
	b, err := json.Marshal(d.kept)
	if err == nil {
		err = d.config.Files.Write(file, b)
	}
	if err != nil {
		d.config.Log.Error("settings from the twin are not kept over a restart", "err", err)
	}
}
