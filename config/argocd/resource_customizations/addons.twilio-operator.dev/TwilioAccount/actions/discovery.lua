-- Copyright The twilio-addon-operator Authors.
-- SPDX-License-Identifier: Apache-2.0

local suspended = obj.spec.suspend == true
local annotations = obj.metadata.annotations or {}
local removals = (obj.status or {}).removals or {}
local hold = removals.hold
local waiting = hold ~= nil and hold ~= "" and annotations["addons.twilio-operator.dev/approve-removals"] ~= hold

return {
  ["suspend"] = {
    ["disabled"] = suspended,
    ["iconClass"] = "fa fa-fw fa-pause",
    ["displayName"] = "Suspend (stop every call to Twilio)",
  },
  ["resume"] = {
    ["disabled"] = not suspended,
    ["iconClass"] = "fa fa-fw fa-play",
    ["displayName"] = "Resume",
  },
  ["approve-removals"] = {
    ["disabled"] = not waiting,
    ["iconClass"] = "fa fa-fw fa-check",
    ["displayName"] = "Approve the removals that are held",
  },
}
