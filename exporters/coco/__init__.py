"""COCO's annotations of NSD's images: moved into the crops that NSD showed, labelled, written."""
