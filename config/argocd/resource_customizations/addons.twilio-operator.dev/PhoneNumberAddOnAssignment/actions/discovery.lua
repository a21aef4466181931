-- Copyright The twilio-addon-operator Authors.
-- SPDX-License-Identifier: Apache-2.0

local suspended = obj.spec.suspend == true

return {
  ["reconcile"] = {
    ["disabled"] = suspended,
    ["iconClass"] = "fa fa-fw fa-sync",
    ["displayName"] = "Check now",
  },
  ["suspend"] = {
    ["disabled"] = suspended,
    ["iconClass"] = "fa fa-fw fa-pause",
    ["displayName"] = "Suspend",
  },
  ["resume"] = {
    ["disabled"] = not suspended,
    ["iconClass"] = "fa fa-fw fa-play",
    ["displayName"] = "Resume",
  },
  ["release"] = {
    ["disabled"] = obj.spec.deletionPolicy == "Retain",
    ["iconClass"] = "fa fa-fw fa-unlink",
    ["displayName"] = "Release (leave Twilio as it is on deletion)",
  },
}
