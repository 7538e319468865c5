"""Pictures of other formats, by Pillow: read to pixels and metadata, and written from them. The rules for users: command/FILES.md."""
