// Copyright The twilio-addon-operator Authors.
// SPDX-License-Identifier: Apache-2.0

package twilio

// The texts of this package that reach an object's status. Each is stable: the same
// trouble reads the same at every retry. way.go has those about the network,
// credentials.go and transport.go those about the Secret and the base URL.

// words is the operation as the beginning of a sentence about its failure.
func (o Operation) words() string {
	switch o {
	case OpVerify:
		return "checking the credentials"
	case OpGetPhoneNumber:
		return "reading the phone number"
	case OpListPhoneNumbers:
		return "listing the account's phone numbers"
	case OpListAssigned:
		return "listing the assigned add-ons"
	case OpGetAssigned:
		return "reading the assignment"
	case OpAssign:
		return "assigning the add-on"
	case OpUnassign:
		return "unassigning the add-on"
	case OpListInstalled:
		return "listing the installed add-ons"
	}
	return "calling Twilio"
}

// inputError is a request that cannot be made because of its input.
type inputError string

func (e inputError) Error() string { return string(e) }

const (
	errNumberSID inputError = "the phone number SID must be PN and 32 hexadecimal digits"
	errAddOnSID  inputError = "the add-on SID must be XE and 32 hexadecimal digits"
	errRequest   inputError = "no request can be made of this base URL and these SIDs"
)

// answerError is an answer that Twilio does not give to the request.
type answerError string

func (e answerError) Error() string { return string(e) }

const (
	// The answer as a whole.
	errForeign   answerError = "the answer is not Twilio's; a proxy or gateway may have sent it"
	errNotFinal  answerError = "the answer is not a final HTTP response"
	errStatus    answerError = "Twilio does not answer this request with this status"
	errRedirect  answerError = "the answer is a redirect; redirects are not followed"
	errTooLarge  answerError = "the answer is larger than 8 MiB"
	errNotObject answerError = "the answer is not a JSON object"
	errBadJSON   answerError = "the answer is not valid JSON"
	errFieldType answerError = "a field of the answer has the wrong type"

	// A list and its pages.
	errNotThisAccount answerError = "the answer does not name this account; check apiBaseURL"
	errTooManyItems   answerError = "the page has more items than were asked for"
	errItemNotObject  answerError = "an item of the list is not a JSON object"
	errTooManyPages   answerError = "the list has too many pages"
	errPageLoop       answerError = "the pages of the list lead in a circle"
	errNextUnusable   answerError = "next_page_uri cannot be followed"
	errNextHost       answerError = "next_page_uri leads to another host"
	errNextResource   answerError = "next_page_uri leads to another resource"
	errNextNoPage     answerError = "next_page_uri names no page"

	// An item.
	errNumberNoSID       answerError = "a phone number in the answer has no SID"
	errOtherNumber       answerError = "the answer is about another phone number"
	errNumberAccount     answerError = "a phone number in the answer belongs to another account"
	errAssignmentNoSID   answerError = "an assignment in the answer has no SID"
	errOtherAssignment   answerError = "the answer is about another assignment"
	errAssignmentNumber  answerError = "an assignment in the answer is of another phone number"
	errAssignmentAccount answerError = "an assignment in the answer belongs to another account"
)

func errNoList(key string) error { return answerError("the answer has no list " + key) }
func errNotString(key string) error {
	return answerError("the field " + key + " of the answer is not a string")
}

// noSuchAccount explains a 404 to Verify, whoever sent it.
const noSuchAccount = "the address answers, but knows no such account: check apiBaseURL and accountSID"
