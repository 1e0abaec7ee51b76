"""Who calls, for LiteLLM's proxy in callback.py: the key sk-X pays as the tenant X/litellm."""

from litellm.proxy._types import UserAPIKeyAuth


async def authenticate(request, api_key):
    return UserAPIKeyAuth(
        api_key=api_key, metadata={"quotad_tenant": api_key.removeprefix("sk-") + "/litellm"}
    )
