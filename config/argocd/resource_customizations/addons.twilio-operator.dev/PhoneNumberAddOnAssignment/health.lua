-- Copyright The twilio-addon-operator Authors.
-- SPDX-License-Identifier: Apache-2.0

-- The status follows kstatus: observedGeneration is kept, Reconciling and Stalled are present
-- only while they are True. The reason leads to a section of docs/troubleshooting.md.

local status = obj.status or {}
if status.observedGeneration ~= obj.metadata.generation then
  return {status = "Progressing", message = "The operator has not seen this version yet."}
end

local conditions = {}
for _, condition in ipairs(status.conditions or {}) do
  conditions[condition.type] = condition
end
local ready = conditions["Ready"]
if ready == nil then
  return {status = "Progressing", message = "The operator has not reported yet."}
end

local health = {status = "Progressing", message = ready.reason .. ": " .. ready.message}
local stalled = conditions["Stalled"]
if stalled ~= nil and stalled.status == "True" then
  health.status = "Degraded"
elseif ready.reason == "Suspended" then
  health.status = "Suspended"
elseif ready.status == "True" then
  health.status = "Healthy"
end
return health
