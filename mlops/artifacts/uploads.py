"""Streaming uploads to files."""

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.files.uploadedfile import TemporaryUploadedFile
from django.core.files.uploadhandler import FileUploadHandler, TemporaryFileUploadHandler

from mlops.artifacts.storage import TooLarge


class StreamingUploadHandler(TemporaryFileUploadHandler):
    """Every upload goes to a file of its own, named by us: Django's puts the sender's extension into the name, however long."""

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        """Open the file. Its name on this machine has nothing of the sender's."""
        FileUploadHandler.new_file(self, *args, **kwargs)
        self.file = TemporaryUploadedFile("upload", self.content_type, 0, self.charset, self.content_type_extra)
        self.file.name = self.file_name

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        """Write on, up to the limit that `mlops.api.intake` found for the view. Raises TooLarge; the file is gone then."""
        limit = getattr(self.request, "file_limit", settings.MAX_DATASET_BYTES)
        if start + len(raw_data) > limit:
            self.file.close()
            raise TooLarge(limit)
        super().receive_data_chunk(raw_data, start)


def path_of(file: Any) -> Path:
    """Where the upload was streamed to: FILE_UPLOAD_HANDLERS names the handler above alone, which keeps nothing in memory."""
    if not isinstance(file, TemporaryUploadedFile):
        raise TypeError(f"{type(file).__name__} has no file: FILE_UPLOAD_HANDLERS must stream to files.")
    return Path(file.temporary_file_path())
