"""The partner API, `/api/partners`, in the shape that partners know."""
