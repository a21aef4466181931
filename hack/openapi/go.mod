// Tests the simulator against Twilio's published OpenAPI. It is a module of its own, so that the
// operator does not depend on the validator.
module github.com/twilio-addon-operator/twilio-addon-operator/hack/openapi

go 1.26.8

require github.com/twilio-addon-operator/twilio-addon-operator v0.0.0

require (
	github.com/getkin/kin-openapi v0.153.0
	github.com/go-openapi/jsonpointer v1.0.0 // indirect
	github.com/gorilla/mux v1.8.0 // indirect
	github.com/santhosh-tekuri/jsonschema/v6 v6.0.3 // indirect
	go.yaml.in/yaml/v4 v4.0.0 // indirect
	golang.org/x/text v0.42.0 // indirect
)

replace github.com/twilio-addon-operator/twilio-addon-operator => ../..
