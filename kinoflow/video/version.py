"""Which libraries decode, by their versions."""


def decoder_version() -> str:
    """The versions of the libraries that decode and scale: "pyav-18.1.0 opencv-5.0.0".

    Beside the file and the `ClipSpec`, nothing else decides what a sampled clip's pixels are.
    """
    import av
    import cv2

    return f"pyav-{av.__version__} opencv-{cv2.__version__}"
