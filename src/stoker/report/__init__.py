"""One stretch of the past as one HTML page: no script, no request, its pictures inside."""
