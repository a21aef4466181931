-- Copyright The twilio-addon-operator Authors.
-- SPDX-License-Identifier: Apache-2.0

-- The approval names the hold that the person saw: it does nothing for another one.
local removals = (obj.status or {}).removals or {}
if removals.hold == nil then
  return obj
end
if obj.metadata.annotations == nil then
  obj.metadata.annotations = {}
end
obj.metadata.annotations["addons.twilio-operator.dev/approve-removals"] = removals.hold
return obj
