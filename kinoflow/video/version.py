"""The versions of the libraries that decode videos."""


def decoder_version() -> str:
    """The versions of the libraries that decode and scale: "pyav-18.1.0 opencv-5.0.0".

    A sampled clip's pixels depend on these, on the file, on the `ClipSpec` and on nothing else.
    """
    import av
    import cv2

    return f"pyav-{av.__version__} opencv-{cv2.__version__}"
