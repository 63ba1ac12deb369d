module github.com/devid-agent/devid-agent/test/est

go 1.26.0

require (
	github.com/devid-agent/devid-agent v0.0.0
	github.com/globalsign/est v1.0.6
)

require (
	github.com/globalsign/pemfile v1.0.0 // indirect
	github.com/go-chi/chi v4.1.2+incompatible // indirect
	github.com/google/go-tpm v0.9.8 // indirect
	github.com/gorilla/websocket v1.5.3 // indirect
	go.mozilla.org/pkcs7 v0.0.0-20200128120323-432b2356ecb1 // indirect
	golang.org/x/crypto v0.57.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
	golang.org/x/term v0.46.0 // indirect
	golang.org/x/time v0.0.0-20210220033141-f8bda1e9f3ba // indirect
)

replace github.com/devid-agent/devid-agent => ../..

// GlobalSign's server of 2021 needs the API that go-tpm had then; what is tested here of the agent needs none.
replace github.com/google/go-tpm => github.com/google/go-tpm v0.3.2

tool github.com/globalsign/est/cmd/estserver
