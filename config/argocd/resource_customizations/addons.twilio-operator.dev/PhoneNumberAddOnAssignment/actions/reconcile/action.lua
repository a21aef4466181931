-- Copyright The twilio-addon-operator Authors.
-- SPDX-License-Identifier: Apache-2.0

local os = require("os")

if obj.metadata.annotations == nil then
  obj.metadata.annotations = {}
end
obj.metadata.annotations["addons.twilio-operator.dev/reconcile-requested-at"] = os.date("!%Y-%m-%dT%XZ")
return obj
