// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twiliosim

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"strings"
)

// toXML converts a JSON body to the XML that the 2010 API sends for a path without ".json".
func toXML(body []byte) []byte {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	var buf bytes.Buffer
	buf.WriteString(xml.Header + "<TwilioResponse>")
	if bytes.Contains(body, []byte(`"more_info"`)) {
		writeXML(&buf, d, "RestException")
	} else {
		writeXML(&buf, d, "Resource")
	}
	buf.WriteString("</TwilioResponse>")
	return buf.Bytes()
}

// writeXML writes the next value of the decoder as an element.
func writeXML(buf *bytes.Buffer, d *json.Decoder, name string) {
	token, err := d.Token()
	if err != nil {
		return
	}
	fmt.Fprintf(buf, "<%s>", name)
	defer fmt.Fprintf(buf, "</%s>", name)
	switch t := token.(type) {
	case json.Delim:
		for d.More() {
			item := strings.TrimSuffix(name, "s")
			if t == '{' {
				key, _ := d.Token()
				item = camelCase(fmt.Sprint(key))
			}
			writeXML(buf, d, item)
		}
		_, _ = d.Token() // The closing delimiter.
	case nil:
	default:
		_ = xml.EscapeText(buf, []byte(fmt.Sprint(t))) // Writing to a buffer cannot fail.
	}
}

// camelCase converts friendly_name to FriendlyName.
func camelCase(s string) string {
	var out strings.Builder
	for word := range strings.SplitSeq(s, "_") {
		if word != "" {
			out.WriteString(strings.ToUpper(word[:1]) + word[1:])
		}
	}
	return out.String()
}
