-- Health of a NetworkStack for Argo CD. Healthy means proven by packets, at the generation
-- that the repository asks for.
local hs = { status = "Progressing", message = "the operator has not seen the newest change yet" }
if obj.metadata.deletionTimestamp ~= nil then
  hs.message = "the network is being removed from the clusters"
  return hs
end
local status = obj.status
if status == nil or status.observedGeneration ~= obj.metadata.generation then
  return hs
end
local condition = {}
for _, c in ipairs(status.conditions or {}) do
  condition[c.type] = c
end
local rollout = status.rollout or {}
local message = rollout.message
if condition.Stalled ~= nil and condition.Stalled.status == "True" then
  return { status = "Degraded", message = condition.Stalled.message }
end
if rollout.phase == "Stopped" or rollout.phase == "RollingBack" then
  return { status = "Degraded", message = message or "a gate was breached" }
end
if condition.Ready ~= nil and condition.Ready.status == "True" then
  return { status = "Healthy", message = condition.Ready.message }
end
-- A person holds it, or is asked for something.
if rollout.phase == "Paused" or rollout.phase == "Waiting" or (obj.spec ~= nil and obj.spec.paused) then
  return { status = "Suspended", message = message or "spec.paused holds changes back" }
end
hs.message = message or (condition.Ready ~= nil and condition.Ready.message) or "clusters are brought to the plan"
return hs
