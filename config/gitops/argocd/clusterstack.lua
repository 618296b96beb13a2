-- Health of a ClusterStack for Argo CD, which shows them below their NetworkStack.
local hs = { status = "Progressing", message = "the operator has not seen the newest change yet" }
if obj.metadata.deletionTimestamp ~= nil then
  hs.message = "the network is being removed from the cluster"
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
if condition.Stalled ~= nil and condition.Stalled.status == "True" then
  return { status = "Degraded", message = condition.Stalled.message }
end
local breach = { ProbeBreached = true, ProbesNotRunning = true, AgentFailing = true, DeadlineExceeded = true, UpgradeRefused = true }
if condition.Proven ~= nil and condition.Proven.status == "False" and breach[condition.Proven.reason] then
  return { status = "Degraded", message = condition.Proven.message }
end
if condition.Ready ~= nil and condition.Ready.status == "True" then
  return { status = "Healthy", message = condition.Ready.message }
end
if obj.spec ~= nil and obj.spec.paused then
  return { status = "Suspended", message = "the NetworkStack is paused" }
end
hs.message = (condition.Ready ~= nil and condition.Ready.message) or "the cluster is brought to the plan"
return hs
