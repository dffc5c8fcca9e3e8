"""The service that a Bento holds, and the command that serves one."""
