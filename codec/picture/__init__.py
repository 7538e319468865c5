"""Pictures of other formats, by Pillow: read to pixels and metadata, and written from them.

The rules for users are in runs/FILES.md.
"""
