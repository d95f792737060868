"""Whether the manifests' names, labels, ports, volumes and files fit together: what no schema would say."""

import pathlib
import sys

import yaml

HERE = pathlib.Path("packaging/kubernetes")
wrong = []


def expect(true, what):
    if not true:
        wrong.append(what)


kustomization = yaml.safe_load((HERE / "kustomization.yaml").read_text())
objects = {}
for name in kustomization["resources"]:
    for one in yaml.safe_load_all((HERE / name).read_text()):
        expect(all(key in one for key in ("apiVersion", "kind", "metadata")), f"{name}: no object")
        objects[one["kind"]] = one
files = {path.name for path in HERE.glob("*.yaml")} - {"kustomization.yaml"}
expect(files == set(kustomization["resources"]), f"resources differ from the files: {files}")
expect(kustomization["generatorOptions"]["disableNameSuffixHash"], "a hash in the name would restart pods")
maps = {}
for one in kustomization["configMapGenerator"]:
    maps[one["name"]] = [entry.split("=")[0] for entry in one["files"]]
    for entry in one["files"]:
        expect((HERE / entry.split("=")[-1]).is_file(), f"{entry}: no such file")

spec = objects["Deployment"]["spec"]
pod = spec["template"]["spec"]
[container] = pod["containers"]
labels = spec["template"]["metadata"]["labels"].items()
for kind, selector in {
    "Deployment": spec["selector"]["matchLabels"],
    "Service": objects["Service"]["spec"]["selector"],
    "PodDisruptionBudget": objects["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
    "NetworkPolicy": objects["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
}.items():
    expect(selector.items() <= labels, f"{kind} selects {selector}, the pods have {dict(labels)}")

ports = {(port["name"], port["protocol"]) for port in container["ports"]}
for kind, named in {
    "Service": [(port["targetPort"], port["protocol"]) for port in objects["Service"]["spec"]["ports"]],
    "NetworkPolicy": [
        (port["port"], port["protocol"]) for rule in objects["NetworkPolicy"]["spec"]["ingress"] for port in rule["ports"]
    ],
}.items():
    for one in named:
        expect(one in ports, f"{kind} names port {one}, the container has {ports}")
for probe in ("readinessProbe", "livenessProbe"):
    expect((container[probe]["httpGet"]["port"], "TCP") in ports, f"{probe}: no such port")
server = (HERE / "rollcall.toml").read_text()
for port in container["ports"]:
    expect(f":{port['containerPort']}\"" in server, f"nobody listens on {port['containerPort']}")

volumes = {volume["name"]: volume for volume in pod["volumes"]}
mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
expect(volumes.keys() == mounts.keys(), "volumes and mounts differ")
expect(all("subPath" not in mount for mount in mounts.values()), "a subPath never changes")
laid_out = set()
for source in volumes["server"]["projected"]["sources"]:
    if "configMap" in source:
        name = source["configMap"]["name"]
        expect(name in maps, f"no ConfigMap {name}")
        items = source["configMap"].get("items")
        for item in items or []:
            expect(item["key"] in maps.get(name, []), f"ConfigMap {name} has no {item['key']}")
        laid_out |= {item["path"] for item in items} if items else set(maps.get(name, []))
    else:
        laid_out |= {item["path"] for item in source["secret"]["items"]}
expect({"rollcall.toml", "tokens/tokens.toml"} <= laid_out, f"the server's files are missing: {laid_out}")
expect(any(path.startswith("zones/") for path in laid_out), "no zone")
expect(mounts["server"]["mountPath"] == "/etc/rollcall", "the image reads /etc/rollcall/rollcall.toml")

grace, sleep = pod["terminationGracePeriodSeconds"], container["lifecycle"]["preStop"]["sleep"]["seconds"]
expect(grace >= sleep + 5 + 5, f"{grace} s are too few for {sleep} s and a drain of 5")
security = container["securityContext"]
expect(security["readOnlyRootFilesystem"] and not security["allowPrivilegeEscalation"], "the container may too much")
expect(security["capabilities"]["drop"] == ["ALL"] and pod["securityContext"]["runAsNonRoot"], "the container may too much")
image = (HERE.parent / "image/Containerfile").read_text()
user = pod["securityContext"]["runAsUser"]
expect(f"USER {user}:{user}" in image, "the image has another user")
expect(spec["replicas"] >= 2 and objects["PodDisruptionBudget"]["spec"]["maxUnavailable"] < spec["replicas"], "no pod left")

print("\n".join(wrong))
sys.exit(bool(wrong))
