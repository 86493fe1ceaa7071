"""What the local Hub answers: accounts, repositories, commits with LFS, files. Each route is a function of (hub, request, parts of the path)."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from typing import Any

from tests.local_hub import Answer, LocalHub, Refuse, Repo, Request, Stored, User, route

TYPE, REPO, REV = r"(?P<type>models|datasets|spaces)", r"(?P<id>[^/]+/[^/]+)", r"(?P<revision>[^/]+)"
PREFIXED = r"/(?:(?P<type>datasets|spaces)/)?(?P<id>[^/]+/[^/]+)"
WHEN = "2026-01-01T00:00:00.000Z"


def signed_in(request: Request) -> User:
    """Whose token it is. Raises Refuse."""
    if request.user is None:
        raise Refuse(401, "", "Invalid credentials in Authorization header" if not request.known else "Invalid username or password.")
    return request.user


def find(hub: LocalHub, request: Request, type: str | None, id: str) -> Repo:
    """The repository, if the token may know of it. Raises Refuse."""
    if not request.known:
        raise Refuse(401, "", "Invalid credentials in Authorization header")
    repo = hub.repos.get(((type or "models").removesuffix("s"), id))
    user = request.user
    if repo is None or (repo.private and not (user and (user.owns(repo.namespace) or repo.namespace in user.organizations))):
        raise Refuse(404 if user else 401, "RepoNotFound", "Repository not found")
    return repo


def readable(hub: LocalHub, request: Request, type: str | None, id: str) -> Repo:
    """The same, if the token may read its files too: a gate shows what is behind it only to those it lets through."""
    repo, user = find(hub, request, type, id), request.user
    if repo.gated and not (user and user.owns(repo.namespace)):
        if user is None:
            raise Refuse(
                401, "GatedRepo",
                f"Access to model {id} is restricted. You must have access to it and be authenticated to access it. Please log in.",
            )  # fmt: skip
        if not user.may("gated-repos"):
            words = "Please enable access to public gated repositories in your fine-grained token settings to view this repository."
            raise Refuse(403, "", words)
        if user.name not in repo.readers:
            words = f"Access to model {id} is restricted and you are not in the authorized list. Visit {hub.url}/{id} to ask for access."
            raise Refuse(403, "GatedRepo", words)
    return repo


def writable(hub: LocalHub, request: Request, type: str | None, id: str) -> Repo:
    repo, user = find(hub, request, type, id), signed_in(request)
    own = user.owns(repo.namespace) and user.role != "read"
    if not own or not (user.may("write-repos") or (user.may("contribute-repos") and repo.made_with == user.token)):
        raise Refuse(403, "", f"Forbidden: you don't have write permission on {id}")
    return repo


def page(hub: LocalHub, repo: Repo) -> str:
    return f"{hub.url}/{'' if repo.type == 'model' else repo.type + 's/'}{repo.id}"


# -- accounts


@route("GET", "/api/whoami-v2")
def whoami(hub: LocalHub, request: Request) -> Answer:
    user = signed_in(request)
    organizations = [{"type": "org", "name": name, "fullname": name, "roleInOrg": role} for name, role in user.organizations.items()]
    is_oauth = "contribute-repos" in user.scopes
    access = {"type": "oauth"} if is_oauth else {"type": "access_token", "accessToken": {"displayName": "test", "role": user.role}}
    return Answer(body={
        "type": "user", "id": "1", "name": user.name, "fullname": user.name.title(), "avatarUrl": "", "isPro": user.pro,
        "canPay": user.can_pay, "orgs": organizations, "auth": access,
    })  # fmt: skip


@route("GET", rf"/api/{TYPE}/{REPO}/auth-check(?P<write>/write)?")
def auth_check(hub: LocalHub, request: Request, type: str, id: str, write: str | None) -> Answer:
    (writable if write else readable)(hub, request, type, id)
    return Answer(body=b"OK", type="text/plain")


@route("POST", "/api/validate-yaml")
def validate_yaml(hub: LocalHub, request: Request) -> Answer:
    return Answer(body={"errors": [], "warnings": []})


# -- repositories


@route("POST", "/api/repos/create")
def create(hub: LocalHub, request: Request) -> Answer:
    user, asked = signed_in(request), request.json()
    type, namespace = asked.get("type") or "model", asked.get("organization") or user.name
    may = user.role != "read" and (user.may("manage-repos") or user.may("contribute-repos"))
    if not user.owns(namespace) or not may:
        raise Refuse(403, "", f'You don\'t have the rights to create a {type} under the namespace "{namespace}"')
    id = f"{namespace}/{asked['name']}"
    if existing := hub.repos.get((type, id)):
        return Answer(409, {"error": f"You already created this {type} repo", "url": page(hub, existing)})
    private = asked.get("visibility") == "private" or asked.get("private") is True
    gitattributes = {".gitattributes": b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"}
    repo = hub.repo(id, gitattributes, type, private=private, made_with=user.token)
    repo.extra["asked"] = asked
    return Answer(body={"url": page(hub, repo), "name": id, "id": "1"})


@route("DELETE", "/api/repos/delete")
def delete(hub: LocalHub, request: Request) -> Answer:
    user, asked = signed_in(request), request.json()
    type = asked.get("type") or "model"
    repo = writable(hub, request, type + "s", f"{asked.get('organization') or user.name}/{asked['name']}")
    del hub.repos[type, repo.id]
    return Answer(body=b"OK", type="text/plain")


@route("PUT", rf"/api/{TYPE}/{REPO}/settings")
def settings(hub: LocalHub, request: Request, type: str, id: str) -> Answer:
    repo, asked = writable(hub, request, type, id), request.json()
    if "visibility" in asked or "private" in asked:
        repo.private = asked.get("visibility") == "private" or asked.get("private") is True
    repo.gated = bool(asked.get("gated", repo.gated))
    return Answer(body={"private": repo.private})


def described(repo: Repo, sha: str, files: dict[str, Stored], blobs: bool = False) -> dict[str, Any]:
    siblings = [{"rfilename": name} | (entry(name, one) if blobs else {}) for name, one in files.items()]
    return {
        "_id": "1", "id": repo.id, "modelId": repo.id, "author": repo.namespace, "sha": sha, "private": repo.private,
        "gated": "manual" if repo.gated else False, "disabled": False, "tags": repo.extra.get("tags", []), "downloads": 0, "likes": 0,
        "siblings": siblings, "lastModified": WHEN, "createdAt": WHEN, **repo.extra.get("described", {}),
    }  # fmt: skip


@route("GET", rf"/api/{TYPE}/{REPO}(?:/revision/{REV})?")
def info(hub: LocalHub, request: Request, type: str, id: str, revision: str | None) -> Answer:
    repo = find(hub, request, type, id)
    return Answer(body=described(repo, *repo.at(revision or "main"), blobs="blobs" in request.query))


@route("GET", rf"/api/{TYPE}")
def listing(hub: LocalHub, request: Request, type: str) -> Answer:
    user, found = request.user, []
    for (kind, _), repo in sorted(hub.repos.items()):
        seen = not repo.private or (user and user.owns(repo.namespace))
        if kind + "s" == type and seen and request.query.get("author") in (None, repo.namespace):
            if request.query.get("search", "").lower() in repo.id.lower() and request.query.get("filter") in (None, *repo.extra.get("tags", [])):
                found.append(described(repo, repo.sha, repo.files))
    return Answer(body=found)


@route("GET", rf"/api/{TYPE}/{REPO}/commits/{REV}")
def commits(hub: LocalHub, request: Request, type: str, id: str, revision: str) -> Answer:
    repo = readable(hub, request, type, id)
    repo.at(revision)
    return Answer(body=[{"id": sha, "title": message, "message": "", "authors": [], "date": WHEN} for sha, message, _ in reversed(repo.commits)])


def entry(name: str, one: Stored) -> dict[str, Any]:
    plain = {"type": "file", "path": name, "size": len(one.data), "oid": one.oid}
    return plain | ({"lfs": {"oid": one.lfs, "sha256": one.lfs, "size": len(one.data), "pointerSize": 134}} if one.lfs else {})


def entries(files: dict[str, Stored], below: str, recursive: bool) -> list[dict[str, Any]]:
    """What `git ls-tree` shows of the folder `below` ("": the top)."""
    start, found = f"{below}/" if below else "", {}
    for name, one in files.items():
        if name.startswith(start):
            parts = name[len(start) :].split("/")
            for depth in range(1, len(parts) if recursive else min(len(parts), 2)):
                folder = start + "/".join(parts[:depth])
                found[folder] = {"type": "directory", "path": folder, "oid": hashlib.sha1(folder.encode()).hexdigest(), "size": 0}
            if recursive or len(parts) == 1:
                found[name] = entry(name, one)
    return list(found.values())


@route("GET", rf"/api/{TYPE}/{REPO}/tree/{REV}(?P<below>/.+)?")
def tree(hub: LocalHub, request: Request, type: str, id: str, revision: str, below: str | None) -> Answer:
    repo = find(hub, request, type, id)
    found = entries(repo.at(revision)[1], (below or "").strip("/"), request.query.get("recursive", "").lower() == "true")
    if below and not found:
        raise Refuse(404, "EntryNotFound", f"{below} does not exist on {revision}")
    return Answer(body=found)


@route("POST", rf"/api/{TYPE}/{REPO}/paths-info/{REV}")
def paths_info(hub: LocalHub, request: Request, type: str, id: str, revision: str) -> Answer:
    repo, asked = find(hub, request, type, id), request.json()
    known = {one["path"]: one for one in entries(repo.at(revision)[1], "", True)}
    return Answer(body=[known[path] for path in asked["paths"] if path in known])


# -- uploads


@route("POST", rf"/api/{TYPE}/{REPO}/preupload/{REV}")
def preupload(hub: LocalHub, request: Request, type: str, id: str, revision: str) -> Answer:
    files, answers = writable(hub, request, type, id).files, []
    for one in request.json()["files"]:
        there = files.get(one["path"])
        mode = "lfs" if hub.is_large(one["path"], one["size"]) else "regular"
        answers.append({"path": one["path"], "uploadMode": mode, "shouldIgnore": False, "oid": (there.lfs or there.oid) if there else None})
    return Answer(body={"files": answers})


@route("POST", rf"{PREFIXED}\.git/info/lfs/objects/batch")
def lfs_batch(hub: LocalHub, request: Request, type: str | None, id: str) -> Answer:
    writable(hub, request, type, id)
    objects = []
    for one in request.json()["objects"]:
        upload = {"href": f"{hub.storage}/_lfs/{one['oid']}?X-Amz-Signature=0123456789abcdef"}
        verify = {"href": f"{hub.url}/_verify/{one['oid']}"}
        objects.append(one if one["oid"] in hub.objects else {**one, "actions": {"upload": upload, "verify": verify}})
    return Answer(body={"transfer": "basic", "objects": objects}, type="application/vnd.git-lfs+json")


@route("PUT", r"/_lfs/(?P<oid>[0-9a-f]{64})")
def lfs_put(hub: LocalHub, request: Request, oid: str) -> Answer:
    if hashlib.sha256(request.body).hexdigest() != oid:
        raise Refuse(400, "", "sha256 mismatch")
    hub.objects[oid] = request.body
    return Answer(headers={"ETag": f'"{oid}"'})


@route("POST", r"/_verify/(?P<oid>[0-9a-f]{64})")
def lfs_verify(hub: LocalHub, request: Request, oid: str) -> Answer:
    signed_in(request)
    return Answer(200 if oid in hub.objects else 404, {})


@route("POST", rf"/api/{TYPE}/{REPO}/commit/{REV}")
def commit(hub: LocalHub, request: Request, type: str, id: str, revision: str) -> Answer:
    repo = writable(hub, request, type, id)
    lines = [json.loads(line) for line in request.body.splitlines() if line.strip()]
    header, files = lines[0]["value"], dict(repo.files)
    if (parent := header.get("parentCommit")) and not repo.sha.startswith(parent):
        raise Refuse(412, "", "A commit has happened since. Please refresh and try again.")
    for line in lines[1:]:
        value = line["value"]
        if line["key"] == "file":
            files[value["path"]] = Stored(base64.b64decode(value["content"]))
        elif line["key"] == "lfsFile":
            if value["oid"] not in hub.objects:
                raise Refuse(400, "", f"LFS object {value['oid']} is missing")
            files[value["path"]] = Stored(hub.objects[value["oid"]], value["oid"])
        elif line["key"] == "deletedFile":
            files.pop(value["path"], None)
        elif line["key"] == "deletedFolder":
            files = {name: one for name, one in files.items() if not name.startswith(value["path"].rstrip("/") + "/")}
        else:
            raise Refuse(400, "", f"local Hub: no operation {line['key']}")
    sha = repo.commit(header["summary"], files)
    address = f"{page(hub, repo)}/commit/{sha}"
    return Answer(body={"success": True, "commitOid": sha, "commitUrl": address, "hookOutput": "", "pullRequestUrl": None})


# -- downloads


@route("GET", rf"{PREFIXED}/resolve/{REV}/(?P<name>.+)")
def resolve(hub: LocalHub, request: Request, type: str | None, id: str, revision: str, name: str) -> Answer:
    repo = readable(hub, request, type, id)
    sha, files = repo.at(revision)
    if name not in files:
        raise Refuse(404, "EntryNotFound", "Entry not found", **{"X-Repo-Commit": sha})
    one = files[name]
    if one.lfs:
        headers = {"X-Linked-Etag": f'"{one.lfs}"', "X-Linked-Size": str(len(one.data)), "X-Repo-Commit": sha}
        return Answer(302, b"", headers | {"Location": f"{hub.storage}/_cdn/{one.lfs}?Signature=0123456789abcdef"})
    return content(request, one.data, one.oid, {"X-Repo-Commit": sha})


@route("GET", r"/_cdn/(?P<oid>[0-9a-f]{64})")
def cdn(hub: LocalHub, request: Request, oid: str) -> Answer:
    return content(request, hub.objects[oid], oid, {})


def content(request: Request, data: bytes, etag: str, headers: dict[str, str]) -> Answer:
    headers = headers | {"ETag": f'"{etag}"', "Accept-Ranges": "bytes"}
    asked = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range", "") or request.headers.get("range", ""))
    if not asked:
        return Answer(200, data, headers, "application/octet-stream")
    first, last = int(asked[1]), min(int(asked[2] or len(data)), len(data) - 1)
    if first > last:
        return Answer(416, b"", headers | {"Content-Range": f"bytes */{len(data)}"})
    part = headers | {"Content-Range": f"bytes {first}-{last}/{len(data)}"}
    return Answer(206, data[first : last + 1], part, "application/octet-stream")
