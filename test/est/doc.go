// Package est holds provisioning/est against an EST server, and the simulated cloud's EST server against an EST client,
// that nobody of this project wrote: GlobalSign's. It is a module of its own, so that their dependencies stay out of
// the agent's.
package est
