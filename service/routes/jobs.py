"""`/v1/jobs`: audio taken in now and transcribed later."""

import re
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import JSONResponse

from model.turns import Rank
from service.access import holder_of
from service.errors import InvalidRequestError
from service.formats import CONTENT_TYPES, Granularity, ResponseFormat, render
from service.jobs.job import is_job_id
from service.jobs.jobs import Jobs
from service.keys import Key
from service.recogniser import ServedModel
from service.scheduler import Scheduler
from service.schemas import form_schema, parse_options, result_options
from service.settings import Settings
from service.uploads import FormLimits, read_upload

router = APIRouter()

T = TypeVar("T")

IDEMPOTENCY_KEY = re.compile(r"[!-~]{1,255}")
WEBHOOK_URL = "webhook_url"


def _documented() -> dict[str, Any]:
    schema = form_schema()
    properties = {name: field for name, field in schema["properties"].items() if name != "stream"}
    properties[WEBHOOK_URL] = {"type": "string", "description": "Told of the job's end by a signed POST."}
    form = {"multipart/form-data": {"schema": schema | {"properties": properties}}}
    return {"requestBody": {"required": True, "content": form}}


def _links() -> dict[str, Any]:
    """What can be asked with the id of the answer; tools that try the API follow them."""
    one = "#/paths/~1v1~1jobs~1{job_id}"
    places = {"job": f"{one}/get", "erase": f"{one}/delete", "result": f"{one}~1result/get"}
    places["webhooks"] = f"{one}~1webhooks/get"
    of_answer = {"job_id": "$response.body#/id"}
    return {name: {"operationRef": place, "parameters": of_answer} for name, place in places.items()}


@router.post(
    "/v1/jobs",
    summary="Take audio in, to be transcribed later",
    status_code=202,
    openapi_extra=_documented(),
    responses={202: {"description": "The job; its audio is safely on disk.", "links": _links()}},
)
async def create_job(
    request: Request, idempotency_key: Annotated[str | None, Header(description="Sent again: the same job.")] = None
) -> JSONResponse:
    """Answered once audio and job are on disk; from then on the job ends exactly once, whatever dies meanwhile."""
    settings: Settings = request.app.state.settings
    served: ServedModel = request.app.state.served
    scheduler: Scheduler = request.app.state.scheduler
    jobs: Jobs = request.app.state.jobs

    served.ready()
    if idempotency_key is not None and not IDEMPOTENCY_KEY.fullmatch(idempotency_key):
        raise InvalidRequestError(
            "The header Idempotency-Key has to be 1 to 255 visible ASCII characters.", param="Idempotency-Key"
        )
    await jobs.call(jobs.check_room, _owner(request), idempotency_key)

    with scheduler.reserve(*holder_of(request), rank=Rank.BACKGROUND) as place:
        upload = await read_upload(request, FormLimits.of(settings), place.hold)
        with upload.file:
            webhook_url = _taken(upload.fields, WEBHOOK_URL)
            options = parse_options(upload.fields)
            served.named(options.model)
            options.hot_words  # noqa: B018 - raises where they cannot be preferred: here rather than in the job
            if options.stream:
                raise InvalidRequestError("A job's result cannot be streamed; leave 'stream' out.", param="stream")
            job = await jobs.call(
                jobs.submit,
                upload.file,
                options,
                owner=_owner(request),
                idempotency_key=idempotency_key,
                webhook_url=webhook_url,
            )
    return JSONResponse(job.as_object(), 202, {"location": f"/v1/jobs/{job.id}"})


@router.get("/v1/jobs", summary="List jobs")
async def list_jobs(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=100, description="Most jobs in this page.")] = 20,
    after: Annotated[str | None, Query(description="Begin after this job: `last_id` of the page before.")] = None,
    order: Annotated[Literal["asc", "desc"], Query(description="`desc`: newest first.")] = "desc",
) -> dict[str, Any]:
    """The caller's own jobs, page by page."""
    jobs: Jobs = request.app.state.jobs
    if after is not None and not is_job_id(after):
        raise InvalidRequestError(f"'after' is '{after[:100]}', which is no job's id.", param="after")
    page = await jobs.call(jobs.page, _owner(request), limit=limit, after=after, newest_first=order == "desc")
    data = [job.as_object() for job in page.jobs]
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": page.has_more,
    }


@router.get("/v1/jobs/{job_id}", summary="One job")
async def retrieve_job(request: Request, job_id: str) -> dict[str, Any]:
    """How the job stands."""
    jobs: Jobs = request.app.state.jobs
    return (await jobs.call(jobs.get, job_id, _owner(request))).as_object()


@router.get(
    "/v1/jobs/{job_id}/result",
    summary="The transcript of a completed job",
    response_class=Response,
    responses={200: {"description": "As the transcription route answers."}},
)
async def retrieve_result(
    request: Request,
    job_id: str,
    response_format: Annotated[
        ResponseFormat | None, Query(description="Unset: the one the job was made with.")
    ] = None,
    timestamp_granularities: Annotated[list[Granularity] | None, Query(alias="timestamp_granularities[]")] = None,
    include: Annotated[list[Literal["logprobs"]] | None, Query(alias="include[]")] = None,
    bare_granularities: Annotated[
        list[Granularity] | None, Query(alias="timestamp_granularities", include_in_schema=False)
    ] = None,
    bare_include: Annotated[list[Literal["logprobs"]] | None, Query(alias="include", include_in_schema=False)] = None,
) -> Response:
    """In any format; 409 until the job is completed."""
    jobs: Jobs = request.app.state.jobs

    def rendered() -> tuple[str, ResponseFormat]:
        job, transcript = jobs.transcript(job_id, _owner(request))
        granularities = _joined(timestamp_granularities, bare_granularities)
        options = result_options(job.options, response_format, granularities, _joined(include, bare_include))
        logprobs = "logprobs" in options.include
        body = render(transcript, options.response_format, granularities=options.granularities, logprobs=logprobs)
        return body, options.response_format

    body, written_as = await jobs.call(rendered)
    return Response(body, media_type=CONTENT_TYPES[written_as])


@router.delete("/v1/jobs/{job_id}", summary="Cancel and erase a job")
async def delete_job(request: Request, job_id: str) -> dict[str, Any]:
    """An unfinished job is cancelled, and nothing but its job object stays; a finished one is erased altogether."""
    jobs: Jobs = request.app.state.jobs
    cancelled = await jobs.call(jobs.remove, job_id, _owner(request))
    if cancelled is None:
        return {"id": job_id, "object": "transcription.job", "deleted": True}
    return cancelled.as_object()


@router.get("/v1/jobs/{job_id}/webhooks", summary="What was told about a job, and every attempt")
async def list_webhooks(request: Request, job_id: str) -> dict[str, Any]:
    """The messages about the job's end, with the outcome of each attempt to deliver them."""
    jobs: Jobs = request.app.state.jobs
    return {"object": "list", "data": await jobs.call(jobs.webhooks, job_id, _owner(request))}


@router.post("/v1/jobs/{job_id}/webhooks/{webhook_id}/replay", summary="Send a message again", status_code=202)
async def replay_webhook(request: Request, job_id: str, webhook_id: str) -> dict[str, Any]:
    """The same message under the same `webhook-id`, at once, whether it was delivered or not."""
    jobs: Jobs = request.app.state.jobs
    return await jobs.call(jobs.replay, job_id, webhook_id, _owner(request))


def _owner(request: Request) -> str:
    """Id of the key that the request came with; empty where there are no keys."""
    key: Key | None = request.state.key
    return key.owner if key else ""


def _joined(bracketed: list[T] | None, bare: list[T] | None) -> list[T] | None:
    """A list of the query, which may come under its name with brackets, without, or both; None where it did not."""
    return None if bracketed is None and bare is None else [*(bracketed or []), *(bare or [])]


def _taken(fields: dict[str, list[str]], name: str) -> str | None:
    """Take a field out of the form; empty is as if it had not been sent."""
    values = [value for value in fields.pop(name, []) if value.strip()]
    if len(values) > 1:
        raise InvalidRequestError(f"The parameter '{name}' is given {len(values)} times.", param=name)
    return values[0].strip() if values else None
