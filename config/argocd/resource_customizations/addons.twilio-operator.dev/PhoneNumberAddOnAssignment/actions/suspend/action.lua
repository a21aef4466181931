-- Copyright The twilio-addon-operator Authors.
-- SPDX-License-Identifier: Apache-2.0

obj.spec.suspend = true
return obj
