-- Copyright The twilio-addon-operator Authors.
-- SPDX-License-Identifier: Apache-2.0

-- The object goes, or stays, and its add-ons stay assigned in Twilio.
obj.spec.deletionPolicy = "Retain"
return obj
