# Two stages: what builds stays behind; the image that runs holds Python, the virtual environment and no secrets.
FROM python:3.13-slim-bookworm AS build
WORKDIR /src
COPY requirements/base.txt requirements/build.txt requirements/
RUN python3 -m venv /opt/newsletter \
 && /opt/newsletter/bin/pip install --no-cache-dir --require-hashes -r requirements/base.txt -r requirements/build.txt
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY src src
COPY worker worker
COPY subscribers subscribers
COPY templates templates
RUN /opt/newsletter/bin/pip install --no-cache-dir --no-build-isolation --no-deps . \
 && /opt/newsletter/bin/pip uninstall --yes hatchling editables

FROM python:3.13-slim-bookworm
RUN useradd --system --uid 10001 --create-home --home-dir /var/lib/newsletter newsletter \
 && chmod 700 /var/lib/newsletter
COPY --from=build /opt/newsletter /opt/newsletter
ENV PATH=/opt/newsletter/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    NEWSLETTER_HOME=/var/lib/newsletter
USER 10001
WORKDIR /var/lib/newsletter
ENTRYPOINT ["newsletter"]
CMD ["--help"]
